//! Finds JSON in prose: what models write around it, and the commas that they leave behind, is taken away in one pass.

/// The objects and arrays that stand in a text and are not inside of another one, without commas before a closing
/// bracket. One that breaks off is given as far as it goes, so that whoever parses it can tell where.
pub(super) fn json_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = String::new();
    let mut depth = 0usize;
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            '{' | '[' if !in_string => depth += 1,
            _ if depth == 0 => continue,
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '}' | ']' if !in_string => {
                depth -= 1;
                let whole = current.trim_end().strip_suffix(',').map(str::len);
                current.truncate(whole.unwrap_or(current.len()));
            }
            _ => {}
        }
        current.push(c);
        if depth == 0 {
            found.push(std::mem::take(&mut current));
        }
    }
    if depth > 0 {
        found.push(current);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn values_are_cut_out_of_prose_without_their_trailing_commas() {
        assert_eq!(json_in("a \"b {\"x\": [1, 2,\n ], } c"), ["{\"x\": [1, 2]}"]);
        assert_eq!(json_in("[1] and {\"a\":{}}"), ["[1]", "{\"a\":{}}"]);
        assert_eq!(json_in("no json, at all"), Vec::<String>::new());
    }

    #[test]
    fn brackets_quotes_and_commas_inside_of_strings_are_left_alone() {
        for json in [r#"{"a":"}],]"}"#, r#"["\"],{","\\"]"#, r#"{"a":"x\\\"},"}"#] {
            assert_eq!(json_in(json), [json]);
        }
    }

    #[test]
    fn what_breaks_off_is_given_as_far_as_it_goes() {
        assert_eq!(json_in(r#"so: {"facts": ["#), [r#"{"facts": ["#]);
        assert_eq!(json_in(r#"{"a": "b"#), [r#"{"a": "b"#]);
    }

    proptest! {
        #[test]
        fn what_is_json_comes_out_as_it_was(texts in prop::collection::vec(r#"[\[\]{}",:\\ é]{0,12}"#, 0..6)) {
            let value = json!({ "texts": texts, "more": [{ "a": texts }] });
            let text = format!("Sure: ```json\n{value}\n``` done");
            let found = json_in(&text);
            prop_assert_eq!(serde_json::from_str::<Value>(&found[0]).unwrap(), value);
        }
    }
}
