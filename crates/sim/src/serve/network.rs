//! The pretend hosts' doors to the network: the TLS of a real host, for who may not or cannot open a socket.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, ensure};
use godwit_server::{Files, Keys, Known, Operator, Role};
use tokio::net::TcpListener;

/// Where they listen, and with what keys.
#[derive(Clone, Debug)]
pub struct Network {
    /// Of the first host; each other has the next port. Port 0: a free one for each.
    pub address: SocketAddr,
    /// As `godwit certs init` makes it: ca.pem, and NAME.pem and NAME.key of each host and operator.
    pub tls: PathBuf,
}

/// One host's door.
#[derive(Clone)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) keys: Arc<Keys>,
    pub(super) known: Arc<Known>,
}

impl Network {
    /// The door of the host of that number, and its first listener. A host without keys there has none.
    pub(super) async fn open(
        &self,
        (host, names): (usize, &[String]),
    ) -> anyhow::Result<Option<(Listening, TcpListener)>> {
        let name = &names[host];
        let file = |end: &str| self.tls.join(format!("{name}.{end}"));
        if !file("pem").exists() {
            return Ok(None);
        }
        let keys = Keys::read(Files {
            ca: self.tls.join("ca.pem"),
            certificate: file("pem"),
            key: file("key"),
            crl: None,
        })?;
        let next = u16::try_from(host)
            .ok()
            .and_then(|host| match self.address.port() {
                0 => Some(0),
                first => first.checked_add(host),
            });
        let port = next.with_context(|| format!("--listen: there is no port for host `{name}`"))?;
        let listener = listen(SocketAddr::new(self.address.ip(), port)).await?;
        let listening = Listening {
            address: listener.local_addr()?,
            keys: Arc::new(keys),
            known: Arc::new(Known {
                peers: Vec::new(),
                operators: self.operators(names)?,
            }),
        };
        Ok(Some((listening, listener)))
    }

    /// Everybody else who has a certificate there may do all, as who opens a socket may.
    fn operators(&self, hosts: &[String]) -> anyhow::Result<Vec<Operator>> {
        let mut operators = Vec::new();
        for found in fs::read_dir(&self.tls).with_context(|| self.tls.display().to_string())? {
            let name = found?.file_name().into_string().unwrap_or_default();
            match name.strip_suffix(".pem") {
                Some(name) if name != "ca" && !hosts.iter().any(|host| host == name) => {
                    operators.push(Operator {
                        name: name.into(),
                        role: Role::Admin,
                    });
                }
                _ => {}
            }
        }
        Ok(operators)
    }

    /// A door that nobody can come through is a mistake.
    pub(super) fn check(&self, hosts: &[String], open: usize) -> anyhow::Result<()> {
        let directory = self.tls.display();
        ensure!(
            open > 0,
            "{directory} has no certificate of any host: godwit certs init --dir {directory} --host {} --operator me",
            hosts.join(" --host ")
        );
        ensure!(
            !self.operators(hosts)?.is_empty(),
            "{directory} has no operator: godwit certs init --dir {directory} --operator me"
        );
        Ok(())
    }
}

/// Also again, where a host that died had it.
pub(super) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("--listen {address}"))
}
