//! On which NUMA nodes a guest's memory is.

use roxmltree::Document;

use super::{child, child_attribute, domain};

/// More than any machine has, so that a long range costs nothing.
const MOST: u32 = 1024;

/// The nodes that `<numatune>` binds a domain's memory to; none where it says nothing, or what cannot be read: then it may
/// be anywhere.
pub(crate) fn memory_nodes(xml: &str) -> Vec<u32> {
    let document = Document::parse(xml).ok();
    let nodes = document.as_ref().and_then(|document| {
        let tune = child(domain(document).ok()?, "numatune")?;
        node_set(child_attribute(tune, "memory", "nodeset")?)
    });
    nodes.unwrap_or_default()
}

/// As libvirt writes a set: `0-2,^1,5`.
pub(super) fn node_set(text: &str) -> Option<Vec<u32>> {
    let node = |text: &str| text.trim().parse::<u32>().ok().filter(|node| *node < MOST);
    let mut nodes = Vec::new();
    for part in text.split(',') {
        if let Some(not) = part.trim().strip_prefix('^') {
            let not = node(not)?;
            nodes.retain(|node| *node != not);
            continue;
        }
        match part.split_once('-') {
            Some((from, to)) => nodes.extend(node(from)?..=node(to)?),
            None => nodes.push(node(part)?),
        }
    }
    nodes.sort_unstable();
    nodes.dedup();
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tune: &str) -> Vec<u32> {
        memory_nodes(&format!("<domain type='kvm'>{tune}</domain>"))
    }

    #[test]
    fn memory_that_is_bound_to_nodes() {
        assert_eq!(
            of("<numatune><memory mode='strict' nodeset='1'/></numatune>"),
            [1]
        );
        assert_eq!(
            of("<numatune><memory nodeset='0-3,^2,5'/></numatune>"),
            [0, 1, 3, 5]
        );
    }

    #[test]
    fn memory_that_may_be_anywhere() {
        for tune in [
            "",
            "<numatune/>",
            "<numatune><memory mode='strict' placement='auto'/></numatune>",
            "<numatune><memory nodeset='many'/></numatune>",
            "<numatune><memory nodeset='0-4294967295'/></numatune>",
            "<numatune><memory nodeset='3-1'/></numatune>",
            "<numatune><memory nodeset=''/></numatune>",
        ] {
            assert_eq!(of(tune), [0; 0], "{tune}");
        }
        assert_eq!(memory_nodes("no XML"), [0; 0]);
    }
}
