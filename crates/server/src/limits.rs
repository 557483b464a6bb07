//! How much and how long: every number that keeps one caller from taking what all need.

use std::time::Duration;

/// What a door allows. The defaults are meant for every host; tests make them smaller.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, of all callers.
    pub connections: usize,
    /// Connections at once from one address, or of one user of this host.
    pub connections_of_one: usize,
    /// Requests at once on one connection; HTTP/2 tells it to the client.
    pub streams: u32,
    /// From the first byte until TLS and the beginning of HTTP/2 are through.
    pub hello: Duration,
    /// A connection on which nothing arrives for so long is asked for a sign of life...
    pub silence: Duration,
    /// ... and given up on without one in this time.
    pub sign_of_life: Duration,
    /// A request that names no deadline, or a later one, is answered by then. Watches have none.
    pub answer: Duration,
    /// Requests of one caller that may come at once.
    pub burst: u32,
    /// Requests of one caller in each second after that.
    pub per_second: u32,
}

/// Largest request, in bytes.
pub(crate) const MESSAGE: usize = 1024 * 1024;

/// Largest set of headers of a request, in bytes.
pub(crate) const HEADERS: u32 = 16 * 1024;

/// So much of a request's body is taken before somebody reads it, in bytes: of one stream, and of a connection.
pub(crate) const WINDOW: u32 = 256 * 1024;

impl Limits {
    /// For the users of this host: a script may begin many moves at once, and wait for each.
    pub fn of_this_host() -> Limits {
        Limits {
            connections: 2048,
            connections_of_one: 1024,
            burst: 2000,
            per_second: 1000,
            ..Limits::default()
        }
    }
}

impl Default for Limits {
    /// For who comes over the network.
    fn default() -> Limits {
        Limits {
            connections: 512,
            connections_of_one: 64,
            streams: 64,
            hello: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            sign_of_life: Duration::from_secs(20),
            answer: Duration::from_secs(900),
            burst: 400,
            per_second: 100,
        }
    }
}
