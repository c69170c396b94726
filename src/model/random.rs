//! Randomness is an argument too: keys are secrets, and a test may want the same ones twice.

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills the whole of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator, `getrandom(2)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // getrandom(2) fails only where the kernel has no generator at all. There is no honest key
        // to make there, and no way on: stop the process rather than hand out a guessable secret.
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}
