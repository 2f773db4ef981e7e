//! `${var.name}`, `${bundle.target}` and `${bundle.name}` within texts.

use super::error::BundleError;

/// Replaces every reference in `text` by what `value` gives for it. `place` says where the text stands, for errors.
pub fn expand(
    text: &str,
    place: &str,
    mut value: impl FnMut(&str) -> Result<String, BundleError>,
) -> Result<String, BundleError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((reference, after)) = after.split_once('}') else {
            return Err(BundleError::Unclosed { place: place.to_owned() });
        };
        out.push_str(&value(reference.trim())?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_is_replaced_and_other_dollars_stay() {
        let expanded = expand("a${x}b$c${ y }", "here", |name| Ok(name.to_uppercase())).unwrap();
        assert_eq!(expanded, "aXb$cY");
    }

    #[test]
    fn what_is_put_in_is_not_expanded_again() {
        let expanded = expand("${x}", "here", |_| Ok("${x}".to_owned())).unwrap();
        assert_eq!(expanded, "${x}");
    }

    #[test]
    fn an_open_reference_is_an_error() {
        assert!(matches!(expand("${var.x", "here", |_| Ok(String::new())), Err(BundleError::Unclosed { .. })));
    }
}
