//! The help pages of `docs/errors/`: cause and remedy of each code.

/// Code and page, sorted by code.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The page of a code.
pub(crate) fn page(code: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find_map(|(known, page)| (*known == code).then_some(*page))
}

#[cfg(test)]
mod tests {
    #[test]
    fn codes_have_pages() {
        for code in [
            "panic",
            "undecodable",
            "github-not-found",
            "validate-identity",
        ] {
            let page = super::page(code).unwrap_or_default();
            assert!(page.starts_with(&format!("# {code}\n")), "{code}: {page}");
            assert!(page.contains("**Remedy.**"), "{code}");
        }
        assert_eq!(super::page("no-such-code"), None);
    }
}
