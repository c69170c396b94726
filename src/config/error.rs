//! What is wrong with a configuration, for the person who wrote it: all of it, with the lines.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};

use super::source::{Origin, Sources};

/// One mistake.
#[derive(Debug)]
pub(super) struct Problem {
    /// What happened, and where in terms of keys.
    pub(super) message: String,
    /// The few words under the caret.
    pub(super) label: String,
    /// What to do.
    pub(super) help: Option<String>,
    /// The place. `None`: the file as a whole.
    pub(super) origin: Option<Origin>,
}

/// Every mistake of a configuration. Holds no secret: values that may be one were masked when it
/// was made.
#[derive(Debug)]
pub struct ConfigErrors {
    file: String,
    problems: Vec<LocatedProblem>,
}

/// How errors are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RenderStyle {
    /// With ANSI colours.
    pub colour: bool,
    /// With box-drawing characters; else ASCII alone.
    pub unicode: bool,
}

/// A problem, its place without the path (which would not be `Send`).
#[derive(Debug)]
struct LocatedProblem {
    message: String,
    label: LabeledSpan,
    help: Option<String>,
    source: Option<Arc<Shown>>,
}

impl ConfigErrors {
    /// Of `problems` in `sources`, in the order of the text.
    pub(super) fn new(file: &str, sources: &Sources, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| {
            let origin = problem.origin.as_ref();
            origin.map(|origin| (origin.source, origin.span.start))
        });
        let shown: Vec<_> = sources
            .shown()
            .into_iter()
            .map(|(name, text)| Arc::new(Shown { name, text }))
            .collect();
        let problems = problems
            .into_iter()
            .map(|problem| problem.placed(&shown))
            .collect();
        Self {
            file: file.to_owned(),
            problems,
        }
    }

    /// Of a file that could not even be read.
    pub(super) fn unreadable(file: &str, message: String, help: String) -> Self {
        let problem = Problem {
            message,
            label: String::new(),
            help: Some(help),
            origin: None,
        };
        Self::new(file, &Sources::default(), vec![problem])
    }

    /// How many mistakes there are; never 0.
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// All of them as text of several lines, with carets under what is wrong.
    pub fn render(&self, style: RenderStyle) -> String {
        let theme = match (style.colour, style.unicode) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => GraphicalTheme::ascii(),
            (false, true) => GraphicalTheme::unicode_nocolor(),
            (false, false) => GraphicalTheme::none(),
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            // Not lines around: see `Shown`.
            .with_context_lines(1)
            .with_width(100);
        let mut text = String::new();
        for problem in &self.problems {
            // Writing to a String cannot fail; a place outside the text would be drawn without it.
            if handler.render_report(&mut text, problem).is_err() {
                text.push_str(&problem.message);
            }
            text.push('\n');
        }
        let plural = if self.count() == 1 { "" } else { "s" };
        format!("{text}{} problem{plural} in {}\n", self.count(), self.file)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(RenderStyle::default()).trim_end())
    }
}

impl std::error::Error for ConfigErrors {}

impl Problem {
    fn placed(self, shown: &[Arc<Shown>]) -> LocatedProblem {
        let span = self
            .origin
            .as_ref()
            .map_or(0..0, |origin| origin.span.clone());
        LocatedProblem {
            message: self.message,
            label: LabeledSpan::new_with_span(Some(self.label), span),
            help: self.help,
            source: self
                .origin
                .and_then(|origin| shown.get(origin.source).cloned()),
        }
    }
}

/// A text as it may be shown, of which an error shows the lines of its span and none around.
#[derive(Debug)]
struct Shown {
    name: String,
    text: String,
}

impl Shown {
    /// The span, widened to whole lines.
    fn lines(&self, span: &SourceSpan) -> Option<SourceSpan> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        let first = self.text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
        let after = self.text.get(end..)?;
        let last = end + after.find('\n').unwrap_or(after.len());
        Some((first..last).into())
    }
}

impl SourceCode for Shown {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_before: usize,
        _context_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without context, only the position is asked for, not the lines.
        let span = match context_before {
            0 => *span,
            _ => self.lines(span).ok_or(MietteError::OutOfBounds)?,
        };
        let found = self.text.read_span(&span, 0, 0)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            found.data(),
            *found.span(),
            found.line(),
            found.column(),
            found.line_count(),
        )))
    }
}

impl fmt::Display for LocatedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LocatedProblem {}

impl Diagnostic for LocatedProblem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.help.as_ref()?))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let source = self.source.as_ref()?;
        Some(source.as_ref())
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        Some(Box::new(std::iter::once(self.label.clone())))
    }
}
