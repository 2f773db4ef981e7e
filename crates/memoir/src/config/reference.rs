//! The reference of all keys in Markdown, made from the definitions.

use std::fmt::Write;

use super::definitions::DEFINITIONS;

/// One table a section.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Written by `memoir config --docs`. Do not edit: change `crates/memoir/src/config/definitions.rs`. -->\n\n\
         A value is taken from the first of these that has one:\n\n\
         1. a flag: `--set section.key=value` after any command, or a flag of its own such as `--trigger`;\n\
         2. the environment, by the name given below, then `.env` in the working directory;\n\
         3. `config/memoir.toml`, or the file of `--config FILE`;\n\
         4. the default.\n\n\
         An unknown key is an error wherever it stands. `memoir config` prints what is in force and where each value \
         came from. Durations are a whole number with a unit: `100ms`, `1s`, `10m`, `1h`, `1d`.\n",
    );
    let mut section = "";
    for definition in DEFINITIONS {
        let own = definition.key.split('.').next().unwrap_or_default();
        if own != section {
            section = own;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n## {section}\n\n| key | default | value | environment | meaning |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        let default = definition.default.map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
        let variable = match definition.alias {
            Some(alias) => format!("`{}` or `{alias}`", definition.variable()),
            None => format!("`{}`", definition.variable()),
        };
        let secret = if definition.secret { " Secret." } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | {default} | {} | {variable} | {}{secret} |",
            definition.key,
            definition.kind.expected(),
            definition.doc
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_the_reference_and_no_cell_breaks_the_table() {
        let text = markdown();
        for definition in DEFINITIONS {
            assert!(text.contains(&format!("| `{}` |", definition.key)), "{}", definition.key);
        }
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            assert_eq!(row.matches('|').count(), 6, "{row}");
        }
    }

    #[test]
    fn the_page_in_docs_is_the_reference_of_this_build() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let written = std::fs::read_to_string(page).unwrap();
        assert!(written == markdown(), "write it anew: memoir config --docs > docs/configuration.md");
    }
}
