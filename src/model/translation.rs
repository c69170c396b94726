//! Translated texts: one TOML document for each language, beside the code that shows them.

use std::collections::HashMap;

use super::language::Language;

/// The texts of one part of the program, by their keys: the names of the tables and of the text, joined by dots.
#[derive(Debug)]
pub struct Translations {
    by_language: [(Language, HashMap<String, String>); 3],
}

impl Translations {
    /// From the documents in Japanese, English and Korean. What cannot be parsed has no texts; a test of each part
    /// holds that all can.
    pub fn parse(ja: &str, en: &str, ko: &str) -> Self {
        let texts = |document: &str| {
            let mut texts = HashMap::new();
            if let Ok(table) = document.parse::<toml::Table>() {
                collect(&table, "", &mut texts);
            }
            texts
        };
        Self {
            by_language: [
                (Language::Ja, texts(ja)),
                (Language::En, texts(en)),
                (Language::Ko, texts(ko)),
            ],
        }
    }

    /// The text of a key, with `%{name}` replaced by the value of that name; in English where the language has none,
    /// and the key itself where English has none either.
    pub fn text(&self, language: Language, key: &str, values: &[(&str, &str)]) -> String {
        let found = self.find(language, key);
        let found = found.or_else(|| self.find(Language::En, key));
        fill(found.unwrap_or(key), values)
    }

    fn find(&self, language: Language, key: &str) -> Option<&str> {
        let texts = self.by_language.iter().find(|it| it.0 == language)?;
        texts.1.get(key).map(String::as_str)
    }

    /// Every key with the names of its values, in one language: for the test that all languages have the same.
    #[cfg(test)]
    pub(crate) fn keys(
        &self,
        language: Language,
    ) -> std::collections::BTreeMap<String, std::collections::BTreeSet<String>> {
        let texts = self.by_language.iter().find(|it| it.0 == language);
        let names = |text: &String| {
            let parts = text.split("%{").skip(1);
            let names = parts.filter_map(|rest| rest.split_once('}'));
            names.map(|(name, _rest)| name.to_owned()).collect()
        };
        let texts = texts.into_iter().flat_map(|it| &it.1);
        texts
            .map(|(key, text)| (key.clone(), names(text)))
            .collect()
    }
}

/// In one pass: what stands in a value is not replaced again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("%{") {
        text.push_str(before);
        let named = after.split_once('}').and_then(|(name, after)| {
            let value = values.iter().find(|it| it.0 == name)?;
            Some((value.1, after))
        });
        rest = if let Some((value, after)) = named {
            text.push_str(value);
            after
        } else {
            text.push_str("%{");
            after
        };
    }
    text.push_str(rest);
    text
}

fn collect(table: &toml::Table, path: &str, texts: &mut HashMap<String, String>) {
    for (name, value) in table {
        let key = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match value {
            toml::Value::Table(inner) => collect(inner, &key, texts),
            toml::Value::String(text) => {
                texts.insert(key, text.clone());
            }
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_by_its_path_and_falls_back_to_english() {
        let texts = Translations::parse(
            "[page]\ntitle = \"鍵\"\n",
            "[page]\ntitle = \"Keys\"\nlead = \"Keys of %{name}: %{role} %{other}\"\n",
            "this is no TOML",
        );
        assert_eq!(texts.text(Language::Ja, "page.title", &[]), "鍵");
        assert_eq!(texts.text(Language::Ko, "page.title", &[]), "Keys");
        let values = [("name", "%{role}"), ("role", "owner")];
        let lead = texts.text(Language::Ja, "page.lead", &values);
        assert_eq!(lead, "Keys of %{role}: owner %{other}");
        assert_eq!(texts.text(Language::En, "page.none", &[]), "page.none");
    }
}
