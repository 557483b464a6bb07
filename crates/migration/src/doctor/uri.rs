//! `migrate_uri`: where libvirt is told to send guests.

/// Where a `migrate_uri` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `tls`, `tcp`, `ssh` ...
    pub transport: String,
    /// Name or address of the host.
    pub host: String,
    /// Its port, or the transport's usual one.
    pub port: u16,
}

/// Reads `qemu+TRANSPORT://[USER@]HOST[:PORT]/system[?...]`. Transports and ports: libvirt's "Remote support".
///
/// # Errors
/// What is wrong with it.
pub fn endpoint(uri: &str) -> Result<Endpoint, &'static str> {
    let (scheme, rest) = uri.split_once("://").ok_or("it is no URI")?;
    let (driver, transport) = scheme.split_once('+').unwrap_or((scheme, "tls"));
    if driver != "qemu" {
        return Err("it does not begin with `qemu`");
    }
    let usual = match transport {
        "tls" => 16514,
        "tcp" => 16509,
        "ssh" | "libssh" | "libssh2" => 22,
        "unix" | "ext" => return Err("its transport does not lead to another host"),
        _ => return Err("libvirt knows no such transport"),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path != "system" {
        return Err("it does not end with /system");
    }
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let (host, port) = parted(place)?;
    let port = match port {
        None => usual,
        Some(port) => port.parse().map_err(|_| "its port is no port")?,
    };
    if host.is_empty() {
        return Err("it names no host");
    }
    if matches!(host, "localhost" | "::1") || host.starts_with("127.") {
        return Err("it leads to this host itself");
    }
    Ok(Endpoint {
        transport: transport.into(),
        host: host.into(),
        port,
    })
}

/// Host and port; an address of IPv6 stands in brackets.
fn parted(place: &str) -> Result<(&str, Option<&str>), &'static str> {
    let Some(rest) = place.strip_prefix('[') else {
        return Ok(match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        });
    };
    let (host, rest) = rest.split_once(']').ok_or("its bracket is open")?;
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        None => Err("its port is no port"),
        port => Ok((host, port)),
    }
}
