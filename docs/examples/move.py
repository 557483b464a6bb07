"""Moves a guest, once, and follows it until nothing more is to be expected: python move.py TARGET GUEST DESTINATION

TARGET is where gRPC finds the daemon of the host that the guest is on: unix:/run/godwit/godwitd.sock, or HOST:PORT with --ca, --certificate and
--key, files in PEM as `godwit certs init` makes them; --server-name where the certificate has another name than HOST. The exit code is 0 if the guest moved.
"""

import argparse
import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from godwit.v1 import godwit_pb2 as godwit
from godwit.v1 import godwit_pb2_grpc

PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def detail(error, kind):
    """The detail of that kind, or an empty one."""
    found = kind()
    status = rpc_status.from_call(error)
    for any in status.details if status else []:
        if any.Unpack(found):
            break
    return found


def patiently(call, tries=10):
    """Asks again while time may help. Every call here is harmless to repeat."""
    for left in reversed(range(tries)):
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in PASSING or not left:
                raise
            wait = detail(error, error_details_pb2.RetryInfo).retry_delay
            time.sleep(wait.ToTimedelta().total_seconds() or 1)


def follow(migrations, migration):
    """Every change until it is settled, over lost connections."""
    yield migration
    while not migration.settled:
        seen = godwit.WatchMigrationRequest(id=migration.id, after_revision=migration.revision)
        try:
            for answer in migrations.WatchMigration(seen):
                migration = answer.migration
                yield migration
        except grpc.RpcError as error:
            if error.code() not in PASSING:
                raise
            time.sleep(1)


def move(channel, guest, destination):
    migrations = godwit_pb2_grpc.MigrationServiceStub(channel)
    # In a control plane: kept with the task, before the call.
    wanted = godwit.CreateMigrationRequest(guest=guest, destination=destination, request_id=str(uuid.uuid4()))
    begun = patiently(lambda: migrations.CreateMigration(wanted, timeout=30)).migration
    again = migrations.CreateMigration(wanted, timeout=30).migration
    assert again.id == begun.id, "the same request is the same migration"
    phase = None
    for migration in follow(migrations, begun):
        if migration.phase != phase:
            phase = migration.phase
            print(f"{migration.id[:8]} {godwit.Phase.Name(phase)} {migration.because}")
    print(godwit.Moved.Name(migration.moved), godwit.Acceleration.Name(migration.acceleration))
    return migration.moved == godwit.MOVED_YES


def connected(asked):
    """The socket, or mutual TLS: both sides show a certificate of the same authority."""
    if not asked.ca:
        return grpc.insecure_channel(asked.target, options=[("grpc.default_authority", "godwit")])

    def pem(path):
        with open(path, "rb") as file:
            return file.read()

    keys = grpc.ssl_channel_credentials(pem(asked.ca), pem(asked.key), pem(asked.certificate))
    name = [("grpc.ssl_target_name_override", asked.server_name)] if asked.server_name else []
    return grpc.secure_channel(asked.target, keys, options=name)


def arguments():
    parser = argparse.ArgumentParser(description="Moves a guest, once, and follows it.")
    for name in ("target", "guest", "destination"):
        parser.add_argument(name, metavar=name.upper())
    for name in ("ca", "certificate", "key", "server-name"):
        parser.add_argument(f"--{name}")
    asked = parser.parse_args()
    if bool(asked.ca) != bool(asked.certificate and asked.key):
        parser.error("--ca, --certificate and --key go together")
    return asked


def main():
    asked = arguments()
    with connected(asked) as channel:
        try:
            moved = move(channel, asked.guest, asked.destination)
        except grpc.RpcError as error:
            info = detail(error, error_details_pb2.ErrorInfo)
            help = detail(error, error_details_pb2.Help)
            print(f"refused: {info.reason} {dict(info.metadata)}: {error.details()}")
            for link in help.links:
                print(f"next: {link.description}")
            moved = False
    sys.exit(0 if moved else 1)


if __name__ == "__main__":
    main()
