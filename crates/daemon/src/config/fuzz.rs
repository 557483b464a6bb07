//! Configurations by accident: what is taken can be carried out, and what is not is refused with a reason.

use std::path::Path;

use godwit_fuzz::Target;
use godwit_hook::settings::Settings;

use super::*;

const WORDS: &[&str] = &[
    "host = \"alpha\"\n",
    "socket = \"/run/x.sock\"\n",
    "state = ",
    "listen = \"10.1.0.1:7716\"\n",
    "[tls]\n",
    "ca = ",
    "certificate = ",
    "key = ",
    "[[peer]]\n",
    "name = \"beta\"\n",
    "address = ",
    "migrate_uri = ",
    "[[pool]]\n",
    "pfs = [\"pf0\"]\n",
    "[deadlines]\n",
    "fail-over = 7\n",
    "[limits]\n",
    "outgoing = 1\n",
    "[history]\n",
    "keep = 10\n",
    "days = 9\n",
    "[hook]\n",
    "policy = \"pass\"\n",
    "deadline = 3\n",
    "[access]\n",
    "view = [\"a\"]\n",
    "[[operator]]\n",
    "role = \"view\"\n",
    "[audit]\n",
    "file = ",
    "megabytes = 1\n",
    "looks = true\n",
    "[measure]\n",
    "probes = 100\n",
    "ask = \"10.0.0.1\"\n",
    "reflector = \"10.0.0.9:7007\"\n",
    "[profile]\n",
    "must_match = []\n",
    "[unknown]\n",
    "policy = \"keep\"\n",
    "[[fault]]\n",
    "kind = \"die\"\n",
    "times = 1\n",
    "[dbus]\n",
    "enabled = false\n",
    "\"\\n\"",
    "\"\\r\"",
    "'''",
    "\"",
];

const WHOLE: &str = "host = \"alpha\"\nsocket = \"/run/godwit/g.sock\"\nlisten = \"10.1.0.1:7716\"\n[tls]\nca = \"ca.pem\"\ncertificate = \"host.pem\"\nkey = \"host.key\"\n\
    [[peer]]\nname = \"beta\"\naddress = \"10.1.0.2:7716\"\nmigrate_uri = \"qemu+tls://beta/system\"\n[[pool]]\nname = \"fabric\"\npfs = [\"pf0\"]\n\
    [deadlines]\nfail-over = 7\n[hook]\npolicy = \"pass\"\nsocket = \"/run/h.sock\"\ndeadline = 3\n[limits]\noutgoing = 2\n";

#[test]
fn fuzz_configuration() {
    let target = Target {
        name: "configuration",
        words: WORDS,
        most: 4096,
    };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("hook.conf");
    target.run([WHOLE.into(), b"host = \"a\"\n".to_vec()], |input| {
        let text = String::from_utf8_lossy(input);
        let config = match Config::parse(&text) {
            Ok(config) => config,
            Err(why) => {
                assert!(!why.trim().is_empty());
                // Which names and numbers does not matter.
                return why
                    .split(['`', '"', '0', '1'])
                    .next()
                    .unwrap_or_default()
                    .to_owned();
            }
        };
        assert!(!config.host.is_empty() && config.operators().is_ok() && config.faults().is_ok());
        let limits = config.limits();
        assert!((1..=64).contains(&limits.outgoing) && (1..=64).contains(&limits.incoming));
        for phase in Phase::ALL {
            assert!(config.deadlines().of(phase) > Duration::ZERO);
        }
        // What the daemon writes for its hook is what the hook reads.
        let settings = config.hook.settings(&config.socket);
        settings.write(&file).unwrap();
        assert_eq!(Settings::read(Path::new(&file)), settings);
        format!("good, {} peers", config.peers.len().min(2))
    });
}
