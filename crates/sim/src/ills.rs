//! What ails a pretend host, for `godwit doctor` to find. It changes nothing else.

use std::str::FromStr;

/// One thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ill {
    /// The firmware has VT-d switched off.
    IommuOff,
    /// The module vfio-pci is not loaded.
    NoVfio,
    /// The first PF has no link.
    LinkDown,
    /// libvirt has a known fault.
    OldLibvirt,
    /// The certificate ends in some days.
    CertificateEnds,
}

/// An ill as somebody typed it: the host is still a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedIll {
    /// Its host; none: all.
    pub host: Option<String>,
    /// What it is.
    pub ill: Ill,
}

impl Ill {
    /// All there are.
    pub const ALL: [Ill; 5] = [
        Ill::IommuOff,
        Ill::NoVfio,
        Ill::LinkDown,
        Ill::OldLibvirt,
        Ill::CertificateEnds,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Ill::IommuOff => "iommu-off",
            Ill::NoVfio => "no-vfio",
            Ill::LinkDown => "link-down",
            Ill::OldLibvirt => "old-libvirt",
            Ill::CertificateEnds => "certificate-ends",
        }
    }
}

impl FromStr for WantedIll {
    type Err = String;

    /// `ILL[@HOST]`.
    fn from_str(text: &str) -> Result<WantedIll, String> {
        let (name, host) = match text.split_once('@') {
            Some((name, host)) => (name, Some(host.to_owned())),
            None => (text, None),
        };
        let known = Ill::ALL.map(Ill::name).join(", ");
        let ill = Ill::ALL.into_iter().find(|ill| ill.name() == name);
        let ill = ill.ok_or_else(|| format!("`{name}` is no ill; there are: {known}"))?;
        Ok(WantedIll { host, ill })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ills_are_read_as_they_are_typed() {
        for ill in Ill::ALL {
            let wanted: WantedIll = format!("{}@beta", ill.name()).parse().unwrap();
            assert_eq!((wanted.host.as_deref(), wanted.ill), (Some("beta"), ill));
        }
        assert_eq!("link-down".parse::<WantedIll>().unwrap().host, None);
        assert!(
            "link"
                .parse::<WantedIll>()
                .unwrap_err()
                .contains("iommu-off, no-vfio")
        );
    }
}
