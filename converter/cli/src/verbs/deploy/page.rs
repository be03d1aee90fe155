//! Checks the page that a board sends before a browser on this machine opens it.
//!
//! The board's program writes the page, but a board may be in a stranger's hands. Nothing is passed on that could run a
//! script, load something or lead elsewhere. The page may have only the elements that `resmlp-device` writes, and this
//! program puts a policy of its own before the first byte.

/// The text before the board's page. A browser applies its policy to the whole page, whatever the page itself says.
const HEAD: &str = "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
    content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n";

/// Elements of a page of `resmlp-device` that can neither run nor load anything under the policy.
const ELEMENTS: [&str; 28] = [
    "!doctype", "html", "head", "body", "title", "style", "div", "span", "p", "b", "h1", "h2", "h3", "ul", "li",
    "table", "tbody", "tr", "td", "th", "svg", "g", "line", "circle", "polyline", "rect", "text", "path",
];

/// Tags that are accepted only in this form, because with other attributes they could run something or lead elsewhere.
const WHOLE: [&str; 5] = [
    "<meta charset=\"utf-8\">",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">",
    "<link rel=\"icon\" href=\"data:,\">",
    "<script type=\"application/json\" id=\"report\">",
];

/// Returns the page behind this program's own policy.
///
/// # Errors
/// Returns a sentence that shows the first tag which no page of `resmlp-device` has.
pub fn guarded(page: &str) -> Result<String, String> {
    for (at, _) in page.match_indices('<') {
        let tag = &page[at..];
        let name = tag[1..].strip_prefix('/').unwrap_or(&tag[1..]);
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '!').unwrap_or(name.len());
        let name = name[..end].to_ascii_lowercase();
        let is_end_of_script = tag.starts_with("</script>");
        if !is_end_of_script && !ELEMENTS.contains(&&*name) && !WHOLE.iter().any(|whole| tag.starts_with(whole)) {
            let shown: String = tag.chars().take(60).collect();
            return Err(format!("its page has '{shown}', expected only what a page of resmlp-device has"));
        }
    }
    Ok([HEAD, page].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_run_load_or_lead_elsewhere_are_refused() {
        for tag in [
            "<script>alert(1)</script>",
            "<SCRIPT src=x>",
            "<script type=\"module\">",
            "<meta http-equiv=\"refresh\" content=\"0;url=https://example.org\">",
            "<a href=\"https://example.org\">",
            "<iframe>",
            "<base href=x>",
            "<form>",
            "<foreignObject>",
            "<!--",
            "<",
        ] {
            assert!(
                guarded(&format!("<!DOCTYPE html>\n<body>{tag}")).unwrap_err().contains("its page has '<"),
                "{tag}"
            );
        }
    }

    #[test]
    fn the_template_of_the_boards_program_is_accepted_behind_the_policy() {
        let page = include_str!("../../../../../firmware/linux/src/html/page.html");
        let guarded = guarded(page).unwrap();
        assert!(guarded.find("Content-Security-Policy").unwrap() < guarded.find("<html").unwrap());
        assert!(guarded.ends_with(page));
    }
}
