//! This host's socket, opened by its other users: what each may do there.

use std::{fs::File, process::Command};

use godwit_api::{
    peer::v1::{GreetRequest, peer_service_client::PeerServiceClient},
    v1::{
        CancelMigrationRequest, ListHoldsRequest, QuarantineVfRequest,
        host_service_client::HostServiceClient, migration_service_client::MigrationServiceClient,
    },
};
use tonic::Status;

use crate::host::{Beta, socket};

/// Where the other user's client finds the socket.
const SOCKET: &str = "GODWIT_TEST_SOCKET";

/// Before what it was answered.
const ANSWERS: &str = "answers: ";

const YES: &str = "Ok";
const NO: &str = "PermissionDenied";
/// There is no such migration, and no such VF: whoever may ask is told that.
const ASKED: [&str; 2] = ["NotFound", "FailedPrecondition"];

/// The answers to a look, a move, what is for admins, and what is for hosts.
fn answers(uid: u32, gid: u32, beta: &Beta) -> Vec<String> {
    // This very program: given as an open file, because its user may not pass the directories above it.
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    let output = Command::new("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={gid}")])
        .args(["--clear-groups", "/proc/self/fd/0"])
        .args([
            "--exact",
            "roles::the_client_of_another_user",
            "--ignored",
            "--nocapture",
        ])
        .env(SOCKET, &beta.socket)
        .current_dir("/")
        .stdin(program)
        .output()
        .expect("setpriv, of util-linux");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = told.lines().find_map(|line| line.split_once(ANSWERS));
    let (_, line) = line.unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&output.stderr)));
    line.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
#[ignore = "run as another user by the next test"]
async fn the_client_of_another_user() {
    let Some(path) = std::env::var_os(SOCKET) else {
        return;
    };
    let channel = socket(path.into());
    let mut hosts = HostServiceClient::new(channel.clone());
    let cancel = CancelMigrationRequest {
        id: "01a20918-8969-750c-8743-00b2279665c6".into(),
    };
    let keep = QuarantineVfRequest {
        vf: "0000:01:10.0".into(),
        because: String::new(),
    };
    let code = |refused: Option<Status>| refused.map_or(YES.into(), |status| format!("{:?}", status.code()));
    let answers = [
        code(hosts.list_holds(ListHoldsRequest {}).await.err()),
        code(
            MigrationServiceClient::new(channel.clone())
                .cancel_migration(cancel)
                .await
                .err(),
        ),
        code(hosts.quarantine_vf(keep).await.err()),
        code(PeerServiceClient::new(channel).greet(GreetRequest {}).await.err()),
    ];
    println!("\n{ANSWERS}{}", answers.join(" "));
}

/// A socket is whoever opened it: the kernel's word, and nothing that is said.
#[tokio::test(flavor = "multi_thread")]
async fn each_user_may_do_what_its_groups_say_and_nobody_else_anything() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let beta = Beta::with_roles().await;
    let [cancelled, kept] = ASKED;
    let group = |name: &str| nix::unistd::Group::from_name(name).unwrap().unwrap().gid.as_raw();
    let (view, operate, admin) = (group("daemon"), group("bin"), group("sys"));
    let nobody = 65534;
    for (who, uid, gid, may) in [
        ("of the group that may look", 4_000_001, view, [YES, NO, NO, NO]),
        (
            "of the group that may move",
            4_000_001,
            operate,
            [YES, cancelled, NO, NO],
        ),
        (
            "of the group that may do all",
            4_000_001,
            admin,
            [YES, cancelled, kept, NO],
        ),
        ("in the group by the user database", 1, nobody, [YES, NO, NO, NO]),
        ("nobody", nobody, nobody, [NO, NO, NO, NO]),
        ("root's group is not root", 4_000_001, 0, [NO, NO, NO, NO]),
        ("root", 0, 0, [YES, cancelled, kept, NO]),
    ] {
        assert_eq!(answers(uid, gid, &beta), may, "{who}");
    }
    let audited = beta.audited().await;
    let strange = audited.iter().filter(|line| line["from"] == "uid 65534");
    let reasons: Vec<_> = strange.map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["NOT_ALLOWED"; 4]);
}
