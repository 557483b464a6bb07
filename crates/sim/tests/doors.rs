//! The pretend hosts' doors to the network, as control planes and crowds come to them.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use godwit_api::v1::{ListGuestsRequest, guest_service_client::GuestServiceClient};
use godwit_sim::{
    Layout,
    serve::{Network, Options, Sim},
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// What `godwit certs init --host alpha --host beta --operator me` makes.
fn authority(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", &params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    for name in ["alpha", "beta", "me"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        write(
            &format!("{name}.pem"),
            &params.signed_by(&key, &issuer).unwrap().pem(),
        );
        write(&format!("{name}.key"), &key.serialize_pem());
        let only_ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(directory.join(format!("{name}.key")), only_ours).unwrap();
    }
}

/// Both hosts listen at ports that are free.
async fn listening(directory: &Path) -> Sim {
    let options = Options {
        layout: Layout::new(2, 1),
        speed: 50.0,
        faults: Vec::new(),
        ills: Vec::new(),
        sockets: directory.join("sockets"),
        state: None,
        network: Some(Network {
            address: "127.0.0.1:0".parse().unwrap(),
            tls: directory.join("ca"),
        }),
    };
    Sim::start(options).await.unwrap()
}

/// As `me`.
fn by_tls(address: SocketAddr, host: &str, keys: &Path) -> Channel {
    let read = |name: &str| std::fs::read(keys.join(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.pem")))
        .identity(Identity::from_pem(read("me.pem"), read("me.key")))
        .domain_name(host);
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.tls_config(tls).unwrap().connect_lazy()
}

/// At the socket.
fn local(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://sim.local").connect_with_connector_lazy(connector)
}

async fn guests(channel: &Channel) -> Result<usize, Status> {
    let mut client = GuestServiceClient::new(channel.clone());
    let asked = client.list_guests(ListGuestsRequest {});
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
    answer
        .expect("it is answered in time")
        .map(|answer| answer.into_inner().guests.len())
}

#[tokio::test]
async fn each_host_listens_with_its_own_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("ca");
    authority(&keys);
    let sim = listening(directory.path()).await;
    for (host, name) in ["alpha", "beta"].into_iter().enumerate() {
        let address = sim.address(host).unwrap();
        assert!(guests(&by_tls(address, name, &keys)).await.is_ok(), "{name}");
        assert!(
            guests(&by_tls(address, "gamma", &keys)).await.is_err(),
            "{name} is not gamma"
        );
    }
    sim.stop();
}

/// So many silent connections, each of up to 50 from one address of this host's 127/8: more than the door takes of all, fewer than it takes of
/// one.
async fn crowd(to: SocketAddr, number: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for silent in 0..number {
        let own = u8::try_from(1 + silent / 50).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 1, own), 0).into()).unwrap();
        crowd.push(socket.connect(to).await.unwrap());
    }
    crowd
}

/// Whether the door has ended it.
fn ended(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[tokio::test]
async fn thousands_of_connections_from_many_addresses_keep_nobody_out_for_long() {
    const CROWD: usize = 3000;
    // Each has two ends in this process.
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("ca");
    authority(&keys);
    let sim = listening(directory.path()).await;
    let address = sim.address(0).unwrap();
    let (inside, local) = (by_tls(address, "alpha", &keys), local(sim.socket(0)));
    let own = guests(&inside).await.unwrap();
    let crowd = crowd(address, CROWD).await;
    let begun = Instant::now();
    // Whoever is inside is answered as before, and so are this host's own people.
    assert_eq!(guests(&inside).await.unwrap(), own);
    assert_eq!(guests(&local).await.unwrap(), own);
    let out = |of: &[TcpStream]| of.iter().filter(|stream| ended(stream)).count();
    let are_out = async |number: usize| {
        while out(&crowd) < number {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "only {} were put out",
                out(&crowd)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The door has 512 places: all others were put out at once. Silence ends those first that came first, and not so soon.
    are_out(1000).await;
    assert_eq!(out(&crowd[..256]), 0, "they went by their silence");
    are_out(CROWD - 512).await;
    // A newcomer waits for a place as long as silence is borne, which is 10 s, and not longer.
    let newcomer = by_tls(address, "alpha", &keys);
    while guests(&newcomer).await.is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "nobody comes in any more"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(guests(&inside).await.unwrap(), own);
    drop(crowd);
    sim.stop();
}
