//! Where a page of a list ended.

use godwit_migration::Migration;

/// The last migration of a page. Those that begin later come before it, so they move nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) begun_ms: i64,
    pub(crate) id: String,
}

impl Page {
    /// That ended with it.
    pub(crate) fn at(last: &Migration) -> Page {
        Page {
            begun_ms: last.begun_ms,
            id: last.brief.id.clone(),
        }
    }

    /// For the caller, who need not understand it.
    pub(crate) fn token(&self) -> String {
        format!("{}.{}", self.begun_ms, self.id)
    }

    /// Of a token that [`Page::token`] gave.
    pub(crate) fn of(token: &str) -> Option<Page> {
        let (begun_ms, id) = token.split_once('.')?;
        let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
        if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
            return None;
        }
        Some(Page {
            begun_ms: begun_ms.parse().ok()?,
            id: id.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_nonsense_does_not() {
        let page = Page {
            begun_ms: 1_790_000_000_000,
            id: "01a20918-8969-750c-8743-00b2279665c6".into(),
        };
        assert_eq!(Page::of(&page.token()), Some(page));
        for nonsense in [
            "",
            ".",
            "1.",
            "x.01a2",
            "1.01a2' OR 1=1 --",
            "99999999999999999999.01a2",
        ] {
            assert_eq!(Page::of(nonsense), None, "{nonsense}");
        }
    }
}
