//! The promise, word for word.

use super::*;
use crate::view::sample;

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn a_full_migration() {
    let mut migration = sample::on_standby();
    migration.timeline.drain(1..4);
    migration.failure = sample::rolled_back().failure;
    let mut measurement = sample::measurement();
    measurement.pairs[0].phases.truncate(1);
    migration.measurement = Some(measurement);
    insta::assert_snapshot!(pretty(&Migration::from(&migration)), @r#"
    {
      "id": "0198c0de-1111-7222-8333-444455556666",
      "guest": "web-1",
      "guest_uuid": "11111111-2222-3333-4444-555555555555",
      "source": "alpha",
      "destination": "beta",
      "role": "source",
      "phase": "fail-back",
      "moved": "yes",
      "acceleration": "standby",
      "standby_since": "2026-01-02T03:04:15.067Z",
      "because": "the driver in the guest did not take the VF.",
      "cancelled": false,
      "settled": true,
      "ended": false,
      "needs_person": false,
      "created": "2026-01-02T03:04:05.067Z",
      "timeline": [
        {
          "host": "alpha",
          "phase": "reserve",
          "started": "2026-01-02T03:04:05.067Z",
          "ended": "2026-01-02T03:04:05.479Z",
          "failed": false,
          "detail": "beta holds 0000:01:10.2"
        },
        {
          "host": "beta",
          "phase": "fail-back",
          "started": "2026-01-02T03:04:14.167Z",
          "ended": "2026-01-02T03:04:15.067Z",
          "failed": false,
          "detail": "frames seen on 0000:01:10.2"
        }
      ],
      "progress": {
        "memory_total_bytes": 536870912,
        "memory_processed_bytes": 314572800,
        "memory_remaining_bytes": 209715200,
        "bytes_per_second": 103179059,
        "elapsed_ms": 3200,
        "downtime_ms": 214,
        "iteration": 2
      },
      "failure": {
        "reason": "TRANSFER_FAILED",
        "message": "the transfer to beta failed",
        "causes": [
          "libvirt: connection reset"
        ],
        "hint": "ping beta"
      },
      "pairs": [
        {
          "mac": "52:54:00:00:00:01",
          "pool": "blue",
          "source_vf": "0000:01:10.0",
          "destination_vf": "0000:01:10.2"
        }
      ],
      "policy": null,
      "queue_place": 0,
      "measurement": {
        "pairs": [
          {
            "mac": "52:54:00:00:00:01",
            "target": "10.77.0.1",
            "kind": "arp",
            "per_second": 100,
            "phases": [
              {
                "phase": "fail-over",
                "sent": 31,
                "answered": 31,
                "lost": 0,
                "duplicated": 0,
                "longest_gap_ms": 12,
                "lost_there": null,
                "lost_back": null
              }
            ]
          }
        ],
        "not_measured": ""
      },
      "kept": null,
      "transfer": null
    }
    "#);
}

#[test]
fn an_empty_migration_has_every_field() {
    insta::assert_snapshot!(pretty(&Migrations::of(&[api::Migration::default()], false)), @r#"
    {
      "migrations": [
        {
          "id": "",
          "guest": "",
          "guest_uuid": "",
          "source": "",
          "destination": "",
          "role": null,
          "phase": null,
          "moved": null,
          "acceleration": null,
          "standby_since": null,
          "because": "",
          "cancelled": false,
          "settled": false,
          "ended": false,
          "needs_person": false,
          "created": null,
          "timeline": [],
          "progress": null,
          "failure": null,
          "pairs": [],
          "policy": null,
          "queue_place": 0,
          "measurement": null,
          "kept": null,
          "transfer": null
        }
      ],
      "more": false
    }
    "#);
}

#[test]
fn guests() {
    let mut guest = sample::guest();
    guest.pairs.truncate(1);
    insta::assert_snapshot!(pretty(&Guests::from(&[guest][..])), @r#"
    {
      "guests": [
        {
          "name": "web-1",
          "uuid": "11111111-2222-3333-4444-555555555555",
          "state": "running",
          "managed": true,
          "acceleration": "accelerated",
          "agent": true,
          "pairs": [
            {
              "mac": "52:54:00:00:00:01",
              "pool": "blue",
              "standby": "net0",
              "primary": "ua-godwit-0",
              "vf": "0000:01:10.0"
            }
          ],
          "migration": "",
          "problem": "",
          "policy": null
        }
      ]
    }
    "#);
}

#[test]
fn an_error() {
    let failure = sample::rolled_back().failure.unwrap();
    insta::assert_snapshot!(serde_json::to_string(&Refusal::from(&failure)).unwrap(),
        @r#"{"error":{"reason":"TRANSFER_FAILED","message":"the transfer to beta failed","causes":["libvirt: connection reset"],"hint":"ping beta"}}"#);
}
