//! Bridges of Open vSwitch, by the word of its database: JSON-RPC on a socket, as RFC 7047 has it. The one look at this machine that does
//! not block. Nothing is written, and no bridge's name becomes a word of a command line.

use std::{io, time::Duration};

use godwit_migration::{
    doctor::Fact,
    plan::{Network, NetworkKind, Uplink, Ways},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::Machine;

/// Where the database listens (`ovs-vsctl --db`).
const SOCKET: &str = "run/openvswitch/db.sock";
/// A database that is well answers at once.
const WITHIN: Duration = Duration::from_secs(2);
/// A longer answer is not read: some thousand ports.
const LONGEST: usize = 8 << 20;

impl Machine {
    /// The bridge of that name; none: Open vSwitch does not run, or has no such bridge.
    ///
    /// # Errors
    /// It cannot be asked, or what it says is not to be understood.
    pub(crate) async fn switch(&self, name: &str) -> Fact<Option<Network>> {
        let Some(answer) = self.within(&question(name)).await? else {
            return Ok(None);
        };
        let tables = Tables::of(&answer).ok_or("what Open vSwitch answers cannot be understood")?;
        if tables.has_fake(name) {
            return Err(format!("`{name}` is a VLAN of another bridge of Open vSwitch"));
        }
        let Some(bridge) = tables.bridges.first() else {
            return Ok(None);
        };
        let own = ids(&bridge["ports"]);
        let ports = tables
            .ports
            .iter()
            .filter(|port| own.contains(&id(&port["_uuid"])));
        let uplinks: Vec<Uplink> = ports
            .filter(|port| self.leads_out(port, tables.interfaces))
            .map(uplink)
            .collect();
        Ok(Some(Network {
            kind: NetworkKind::OpenVswitch,
            // A bridge in user space has no interface that the kernel knows.
            mtu: self.mtu(name).unwrap_or(u32::MAX),
            link: !uplinks.is_empty(),
            ways: Ways {
                uplinks,
                filters: false,
            },
        }))
    }

    /// What becomes of frames that leave by the port of that name; none: Open vSwitch does not run, or has no such port.
    ///
    /// # Errors
    /// As [`Machine::switch`].
    pub(crate) async fn switch_port(&self, name: &str) -> Fact<Option<Uplink>> {
        let answer = self.within(&question_of_port(name)).await?;
        let Some(answer) = answer else { return Ok(None) };
        let rows = answer["result"][0]["rows"].as_array();
        let rows = rows.ok_or("what Open vSwitch answers cannot be understood")?;
        Ok(rows.first().map(uplink))
    }

    /// Its answer; none: it does not run.
    async fn within(&self, question: &Value) -> Fact<Option<Value>> {
        match timeout(WITHIN, self.ask(question)).await {
            Err(_) => Err(format!(
                "Open vSwitch did not answer within {} s",
                WITHIN.as_secs()
            )),
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) if is_away(&error) => Ok(None),
            Ok(Err(error)) => Err(format!("Open vSwitch cannot be asked: {error}")),
        }
    }

    /// A port that is no guest's, and has a link.
    fn leads_out(&self, port: &Value, interfaces: &[Value]) -> bool {
        let own = ids(&port["interfaces"]);
        let mut own = interfaces
            .iter()
            .filter(|interface| own.contains(&id(&interface["_uuid"])));
        own.any(|interface| {
            let name = interface["name"].as_str().unwrap_or_default();
            match interface["type"].as_str().unwrap_or_default() {
                // The bridge's own.
                "internal" => false,
                "" | "system" => !self.is_tap(name) && self.has_link(name),
                // Patches and tunnels have no carrier; of a tap in user space nothing is known.
                other => !matches!(other, "tap" | "dpdkvhostuser" | "dpdkvhostuserclient"),
            }
        })
    }

    async fn ask(&self, question: &Value) -> io::Result<Value> {
        let mut stream = UnixStream::connect(self.root.join(SOCKET)).await?;
        stream.write_all(question.to_string().as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            let mut values = serde_json::Deserializer::from_slice(&read).into_iter::<Value>();
            for value in values.by_ref() {
                match value {
                    Ok(value) if value["id"] == question["id"] && value["method"].is_null() => {
                        return Ok(value);
                    }
                    Ok(_) => {}
                    Err(error) if error.is_eof() => break,
                    Err(error) => return Err(error.into()),
                }
            }
            if read.len() > LONGEST || stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn is_away(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn select(table: &str, wanted: Value, columns: &[&str]) -> Value {
    json!({"op": "select", "table": table, "where": wanted, "columns": columns})
}

fn question_of_port(name: &str) -> Value {
    let columns = ["tag", "trunks", "vlan_mode"];
    json!({"id": "godwit", "method": "transact", "params": [
        "Open_vSwitch",
        select("Port", json!([["name", "==", name]]), &columns),
    ]})
}

fn question(name: &str) -> Value {
    let ports = [
        "_uuid",
        "name",
        "interfaces",
        "tag",
        "trunks",
        "vlan_mode",
        "fake_bridge",
    ];
    json!({"id": "godwit", "method": "transact", "params": [
        "Open_vSwitch",
        select("Bridge", json!([["name", "==", name]]), &["ports"]),
        select("Port", json!([]), &ports),
        select("Interface", json!([]), &["_uuid", "name", "type"]),
    ]})
}

/// The rows that were asked for.
struct Tables<'a> {
    bridges: &'a [Value],
    ports: &'a [Value],
    interfaces: &'a [Value],
}

impl<'a> Tables<'a> {
    fn of(answer: &'a Value) -> Option<Tables<'a>> {
        let rows = |nth: usize| answer["result"].get(nth)?["rows"].as_array().map(Vec::as_slice);
        Some(Tables {
            bridges: rows(0)?,
            ports: rows(1)?,
            interfaces: rows(2)?,
        })
    }

    /// "Fake bridges" are VLANs of a bridge, under a name of their own.
    fn has_fake(&self, name: &str) -> bool {
        let is_it = |port: &Value| port["fake_bridge"] == true && port["name"] == name;
        self.ports.iter().any(is_it)
    }
}

/// What becomes of frames that leave by it.
fn uplink(port: &Value) -> Uplink {
    let vlan = |value: &Value| value.as_u64().and_then(|vlan| u16::try_from(vlan).ok());
    let trunks: Vec<u16> = set(&port["trunks"]).into_iter().filter_map(vlan).collect();
    let tag = set(&port["tag"]).into_iter().find_map(vlan);
    match (tag, port["vlan_mode"].as_str()) {
        (Some(tag), None | Some("access")) => Uplink::Access(tag),
        (Some(tag), Some("dot1q-tunnel")) => Uplink::Tagging(tag),
        // A native VLAN leaves, too; whether with its tag is the mode's affair.
        (Some(tag), _) if !trunks.is_empty() => Uplink::Trunk([&[tag], trunks.as_slice()].concat()),
        (None, _) if !trunks.is_empty() => Uplink::Trunk(trunks),
        (_, _) => Uplink::Open,
    }
}

/// A column: `["set", [...]]`, or what would be its only member.
fn set(value: &Value) -> Vec<&Value> {
    match value.as_array().map(Vec::as_slice) {
        Some([kind, members]) if kind == "set" => members.as_array().into_iter().flatten().collect(),
        _ => vec![value],
    }
}

fn ids(value: &Value) -> Vec<&str> {
    set(value).into_iter().map(id).collect()
}

/// `["uuid", "..."]`
fn id(value: &Value) -> &str {
    value[1].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::net::UnixListener;

    use super::*;

    /// What ovsdb-server of Open vSwitch 3.1.0 answered, asked for the bridge `ovs0`: the ports `up0` (a trunk of 42 and 43), `vnet0`, the bond `bond0`
    /// of `eth1` and `eth2` (in VLAN 7), the bridge's own, and `ovs0.9`, a fake bridge.
    const ANSWER: &str = include_str!("switch/ovs0.json");
    /// The same, of a bridge that there is not.
    const NONE: &str = include_str!("switch/none.json");

    struct Database(tempfile::TempDir);

    impl Database {
        /// Says that in two parts, and what it was asked is in the channel.
        fn saying(text: &str) -> (Database, tokio::sync::oneshot::Receiver<Value>) {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("run/openvswitch")).unwrap();
            let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
            let (tell, asked) = tokio::sync::oneshot::channel();
            let text = text.to_owned();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 65_536];
                let count = stream.read(&mut buffer).await.unwrap();
                let (head, tail) = text.split_at(text.len() / 2);
                stream.write_all(head.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(tail.as_bytes()).await.unwrap();
                // Whoever asked may have gone.
                let _ = tell.send(serde_json::from_slice(&buffer[..count]).unwrap());
                std::future::pending::<()>().await;
            });
            (Database(folder), asked)
        }

        fn net(&self, name: &str, file: &str, text: &str) {
            let path = self.0.path().join("sys/class/net").join(name).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        async fn seen(&self, name: &str) -> Fact<Option<Network>> {
            Machine::at(self.0.path()).switch(name).await
        }
    }

    #[tokio::test]
    async fn a_bridge_of_open_vswitch_and_its_ways_out() {
        let (database, asked) = Database::saying(ANSWER);
        database.net("ovs0", "mtu", "9000\n");
        for (port, carrier) in [("up0", "1"), ("eth1", "0"), ("eth2", "1"), ("vnet0", "1")] {
            database.net(port, "carrier", carrier);
        }
        database.net("vnet0", "tun_flags", "0x5002\n");
        let seen = database.seen("ovs0").await.unwrap().unwrap();
        assert_eq!(
            (seen.kind, seen.mtu, seen.link),
            (NetworkKind::OpenVswitch, 9000, true)
        );
        let mut uplinks = seen.ways.uplinks;
        uplinks.sort_by_key(|uplink| matches!(uplink, Uplink::Access(_)));
        assert_eq!(uplinks, [Uplink::Trunk(vec![42, 43]), Uplink::Access(7)]);
        let asked = asked.await.unwrap();
        assert_eq!(asked["params"][1]["where"], json!([["name", "==", "ovs0"]]));
    }

    #[tokio::test]
    async fn a_bridge_that_is_not_there_and_one_without_a_link() {
        let (database, _) = Database::saying(NONE);
        assert_eq!(database.seen("ovs7").await, Ok(None));
        let (database, _) = Database::saying(ANSWER);
        let dead = database.seen("ovs0").await.unwrap().unwrap();
        assert_eq!(
            (dead.link, dead.ways.uplinks, dead.mtu),
            (false, Vec::new(), u32::MAX)
        );
        let (database, _) = Database::saying(ANSWER);
        assert!(
            database
                .seen("ovs0.9")
                .await
                .unwrap_err()
                .contains("a VLAN of another bridge")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_away_is_none_and_one_that_is_odd_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Machine::at(folder.path()).switch("ovs0").await, Ok(None));
        for odd in [
            "{\"id\":\"godwit\",\"error\":{\"error\":\"unknown database\"}}",
            "{\"id\":\"godwit\",\"result\":[{},{},{}],\"error\":null}",
            "HTTP/1.1 400 Bad Request\r\n",
            "}",
        ] {
            let (database, _) = Database::saying(odd);
            assert!(database.seen("ovs0").await.is_err(), "{odd}");
        }
        for silent in [
            "",
            "{\"id\":\"another\",\"result\":[]}",
            "{\"id\":\"godwit\",\"result\":[{\"rows\":[]}",
        ] {
            let (database, _) = Database::saying(silent);
            let told = database.seen("ovs0").await.unwrap_err();
            assert!(told.contains("did not answer within 2 s"), "{silent}: {told}");
        }
    }
}
