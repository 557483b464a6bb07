//! Taking secrets out of what is given away. Godwit's own files and logs have none by design; what people write into them,
//! and what libvirt says, may have.

use std::borrow::Cow;

/// What stands in the place of a secret.
pub(crate) const LEFT_OUT: &str = "(left out)";

/// What follows one of these words, and `=` or `:`, is a secret.
const SECRET: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private_key",
    "api_key",
    "apikey",
    "authorization",
];

/// A configuration, written anew: comments are left out with the secrets, since anything may stand in them.
///
/// # Errors
/// What is no TOML cannot be cleared, and is not taken at all.
pub(crate) fn config(text: &str) -> Result<String, String> {
    let unread = |_| String::from("it is no TOML, and so cannot be cleared of secrets");
    let mut table: toml::Table = text.parse().map_err(unread)?;
    for (key, value) in &mut table {
        clear(key, value);
    }
    toml::to_string(&table).map_err(|error| error.to_string())
}

fn clear(key: &str, value: &mut toml::Value) {
    match value {
        toml::Value::Table(table) => table.iter_mut().for_each(|(key, value)| clear(key, value)),
        toml::Value::Array(values) => values.iter_mut().for_each(|value| clear(key, value)),
        // `key` is the path of a file; where somebody wrote the key itself, that is no path.
        toml::Value::String(value) => {
            let no_path = key.eq_ignore_ascii_case("key") && !value.starts_with('/');
            *value = match is_secret(key) || no_path || value.contains("-----BEGIN") {
                true => LEFT_OUT.into(),
                false => text_of(value).into_owned(),
            };
        }
        other => {
            if is_secret(key) {
                *other = toml::Value::String(LEFT_OUT.into());
            }
        }
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET.iter().any(|word| key.contains(word))
}

/// A log, or the JSON of an answer: keys in PEM, values behind [`SECRET`] words, and users with their passwords in addresses.
pub(crate) fn text(text: &str) -> String {
    let mut cleared = String::with_capacity(text.len());
    let mut in_pem = false;
    for line in text.split_inclusive('\n') {
        let begins = line.find("-----BEGIN ");
        let ends = line.contains("-----END ");
        match (in_pem, begins) {
            (false, None) => cleared.push_str(&text_of(line)),
            (false, Some(at)) => {
                cleared.push_str(&text_of(&line[..at]));
                cleared.push_str(LEFT_OUT);
                // On one line, as in JSON, what follows the end is kept.
                match line
                    .rfind("-----END ")
                    .and_then(|end| Some(&line[end..]).zip(line[end..].rfind("-----")))
                {
                    Some((rest, close)) => cleared.push_str(&text_of(&rest[close + 5..])),
                    None => cleared.push('\n'),
                }
                in_pem = !ends;
            }
            (true, _) => in_pem = !ends,
        }
    }
    cleared
}

/// One line, or a part of it.
fn text_of(line: &str) -> Cow<'_, str> {
    let spans = spans(line);
    if spans.is_empty() {
        return Cow::Borrowed(line);
    }
    let (mut cleared, mut at) = (String::with_capacity(line.len()), 0);
    for (from, to) in spans {
        if from < at {
            continue;
        }
        cleared.push_str(&line[at..from]);
        cleared.push_str(LEFT_OUT);
        at = to;
    }
    cleared.push_str(&line[at..]);
    Cow::Owned(cleared)
}

/// Where secrets stand, in order.
fn spans(line: &str) -> Vec<(usize, usize)> {
    let lower = line.to_ascii_lowercase().replace('-', "_");
    let mut spans = Vec::new();
    for word in SECRET {
        let found = lower.match_indices(word).map(|(at, _)| at + word.len());
        spans.extend(found.filter_map(|behind| value(line, behind, word == "authorization")));
    }
    for (scheme, _) in line.match_indices("://") {
        let from = scheme + 3;
        let authority = line[from..]
            .split(['/', ' ', '"', '\'', '\n', '?'])
            .next()
            .unwrap_or("");
        if let Some(at) = authority.rfind('@').filter(|at| *at > 0) {
            spans.push((from, from + at));
        }
    }
    spans.sort_unstable();
    spans
}

/// The value of the word that ends at `behind`: `=` or `:` with blanks and quotes around.
fn value(line: &str, behind: usize, all: bool) -> Option<(usize, usize)> {
    let rest = &line[behind..];
    let name = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')?;
    let quotes = |text: &str| {
        text.find(|c: char| !matches!(c, '"' | '\'' | '\\' | ' '))
            .unwrap_or(text.len())
    };
    let sign = name + quotes(&rest[name..]);
    if !rest[sign..].starts_with(['=', ':']) {
        return None;
    }
    let open = &rest[sign + 1..];
    let lead = quotes(open);
    let from = sign + 1 + lead;
    let quoted = open[..lead].contains(['"', '\'']);
    let ends = |c: char| match (quoted, all) {
        (true, _) => matches!(c, '"' | '\'' | '\\' | '\n'),
        (false, true) => matches!(c, '"' | '\\' | '\n'),
        (false, false) => c.is_whitespace() || ",;&\"'\\})]".contains(c),
    };
    let length = rest[from..].find(ends).unwrap_or(rest.len() - from);
    (length > 0).then_some((behind + from, behind + from + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_keeps_its_keys_and_loses_its_secrets() {
        let config = config(
            "host = \"alpha\" # the pass is hunter2
            libvirt = \"qemu+tcp://root:hunter2@beta/system\"
            [tls]
            ca = \"/etc/godwit/ca.pem\"
            key = \"/etc/godwit/host.key\"
            [[peer]]
            name = \"beta\"
            migrate_uri = \"qemu+tls://beta/system\"
            api-token = \"hunter2\"
            pin_secret = 1234
            [other]
            key = \"hunter2\"
            pem = \"-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----\"
            credentials = [\"hunter2\", \"hunter3\"]",
        );
        insta::assert_snapshot!(config.unwrap(), @r#"
        host = "alpha"
        libvirt = "qemu+tcp://(left out)@beta/system"

        [other]
        credentials = ["(left out)", "(left out)"]
        key = "(left out)"
        pem = "(left out)"

        [[peer]]
        api-token = "(left out)"
        migrate_uri = "qemu+tls://beta/system"
        name = "beta"
        pin_secret = "(left out)"

        [tls]
        ca = "/etc/godwit/ca.pem"
        key = "/etc/godwit/host.key"
        "#);
        assert!(super::config("host = ").unwrap_err().starts_with("it is no TOML"));
    }

    #[test]
    fn a_line_keeps_its_words_and_loses_its_secrets() {
        for (line, cleared) in [
            ("all is well: 3 VFs", "all is well: 3 VFs"),
            ("password=hunter2 next", "password=(left out) next"),
            ("Password: hunter2", "Password: (left out)"),
            ("db_passwd = 'hunter2 3', x", "db_passwd = '(left out)', x"),
            (r#"{"token":"hunter2","b":1}"#, r#"{"token":"(left out)","b":1}"#),
            (
                r#"{"m":"\"secret\": \"hunter2\" ok"}"#,
                r#"{"m":"\"secret\": \"(left out)\" ok"}"#,
            ),
            ("?api_key=hunter2&b=1", "?api_key=(left out)&b=1"),
            ("X-Api-Key: hunter2", "X-Api-Key: (left out)"),
            ("Authorization: Bearer hunter2", "Authorization: (left out)"),
            (
                "at qemu+tls://root:hunter2@beta/system!",
                "at qemu+tls://(left out)@beta/system!",
            ),
            (
                "at qemu+tls://beta/system?u=a@b",
                "at qemu+tls://beta/system?u=a@b",
            ),
            ("the token was taken", "the token was taken"),
            ("token=", "token="),
        ] {
            assert_eq!(text(line), cleared);
        }
    }

    #[test]
    fn keys_in_pem_are_left_out_whole() {
        let log =
            "before\nkey -----BEGIN PRIVATE KEY-----\nhunter2\nhunter3\n-----END PRIVATE KEY-----\nafter\n";
        assert_eq!(text(log), "before\nkey (left out)\nafter\n");
        let json = r#"{"m":"-----BEGIN EC KEY-----\nhunter2\n-----END EC KEY-----","b":1}"#;
        assert_eq!(text(json), r#"{"m":"(left out)","b":1}"#);
        // One that never ends takes the rest with it.
        assert_eq!(text("-----BEGIN X-----\nhunter2\n"), "(left out)\n");
    }
}
