//! Every key of the daemon's configuration stands in the table of docs/operations.md, and nothing else does.

use std::collections::BTreeSet;

use crate::tree;

const CODE: &str = "crates/daemon/src/config.rs";

/// Where `Config` finds tables that have a file of their own.
const MORE: [&str; 6] = [
    "crates/daemon/src/config/pools.rs",
    "crates/daemon/src/config/hook.rs",
    "crates/daemon/src/config/measure.rs",
    "crates/daemon/src/config/access.rs",
    "crates/daemon/src/config/keep.rs",
    "crates/daemon/src/config/transfer.rs",
];

#[test]
fn keys_of_the_configuration_are_those_of_the_document() {
    let code = in_code(&[CODE, MORE[0], MORE[1], MORE[2], MORE[3], MORE[4], MORE[5]].map(tree::text));
    let docs = in_docs(tree::text("docs/operations.md"));
    assert!(code.len() > 5, "{CODE}: struct Config has {code:?}");
    let missing: Vec<_> = code.difference(&docs).collect();
    let unknown: Vec<_> = docs.difference(&code).collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md, Configuration, has no {missing:?}"
    );
    assert!(
        unknown.is_empty(),
        "docs/operations.md, Configuration, has {unknown:?}, and {CODE} has not"
    );
}

/// `host`, `[tls] ca`, `[[peer]] name`, `[deadlines]`: the fields of `Config` and of the structs that it has.
fn in_code(texts: &[&str]) -> BTreeSet<String> {
    let items = texts
        .iter()
        .flat_map(|text| syn::parse_file(text).expect("it parses").items);
    let items: Vec<syn::Item> = items.collect();
    let structs = items.iter().filter_map(|item| match item {
        syn::Item::Struct(item) => Some(item),
        _ => None,
    });
    let structs: Vec<&syn::ItemStruct> = structs.collect();
    let config = structs
        .iter()
        .find(|item| item.ident == "Config")
        .expect("a struct Config");
    let mut keys = BTreeSet::new();
    for (key, words) in config.fields.iter().map(|field| (key(field), words(&field.ty))) {
        let table = if words.iter().any(|word| word == "Vec") {
            format!("[[{key}]]")
        } else {
            format!("[{key}]")
        };
        match structs
            .iter()
            .find(|item| words.contains(&item.ident.to_string()))
        {
            Some(inner) if matches!(inner.fields, syn::Fields::Named(_)) && words[0] != "BTreeMap" => {
                keys.extend(
                    inner
                        .fields
                        .iter()
                        .map(|field| format!("{table} {}", self::key(field))),
                );
            }
            _ if words[0] == "BTreeMap" => drop(keys.insert(table)),
            _ => drop(keys.insert(key)),
        }
    }
    keys
}

/// The name that serde gives a field.
fn key(field: &syn::Field) -> String {
    let mut name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    for attribute in field
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
    {
        let rename = |meta: syn::meta::ParseNestedMeta<'_>| {
            let value = meta.value().and_then(|value| value.parse::<syn::LitStr>());
            match value {
                Ok(value) if meta.path.is_ident("rename") => name = value.value(),
                // `default` has no value, and other values are no names.
                _ => {}
            }
            Ok(())
        };
        attribute
            .parse_nested_meta(rename)
            .expect("an attribute of serde");
    }
    name
}

/// The names in a type, the outermost first, without `Option`.
fn words(ty: &syn::Type) -> Vec<String> {
    struct Words(Vec<String>);
    impl<'ast> syn::visit::Visit<'ast> for Words {
        fn visit_ident(&mut self, ident: &'ast syn::Ident) {
            self.0.push(ident.to_string());
        }
    }
    let mut words = Words(Vec::new());
    syn::visit::visit_type(&mut words, ty);
    words.0.retain(|word| word != "Option");
    words.0
}

/// The first cells of the table whose head is `key`.
fn in_docs(text: &str) -> BTreeSet<String> {
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| key |"))
        .skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut keys = BTreeSet::new();
    for row in rows {
        let cell = row.split('|').nth(1).unwrap_or_default();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        match &names[..] {
            [table, inner @ ..] if table.starts_with('[') && !inner.is_empty() => {
                keys.extend(inner.iter().map(|key| format!("{table} {key}")));
            }
            names => keys.extend(names.iter().map(|key| (*key).to_owned())),
        }
    }
    keys
}

#[test]
fn keys_are_read_on_both_sides() {
    let code = "struct Config { host: String, listen: Option<SocketAddr>, tls: Option<Tls>,
        #[serde(default, rename = \"peer\")] peers: Vec<Peer>, deadlines: BTreeMap<Phase, u64> }
        struct Tls { ca: PathBuf } struct Peer { name: String } struct Phase(u8);";
    let docs = "| key | default |\n|---|---|\n| `host`, `listen` | |\n| `[tls]` `ca` | |\n| `[[peer]]` `name` | |\n| `[deadlines]` | |\n\n| `x` |";
    let keys = ["[[peer]] name", "[deadlines]", "[tls] ca", "host", "listen"];
    assert_eq!(in_code(&[code]).into_iter().collect::<Vec<_>>(), keys);
    assert_eq!(in_docs(docs).into_iter().collect::<Vec<_>>(), keys);
}
