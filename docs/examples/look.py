"""Looks at a host without any code made for it: its health, what it serves, and its guests. python look.py TARGET

The health is asked as grpc_health_probe asks it; messages are made from what the daemon's reflection tells.
"""

import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "godwit.v1.GuestService"


def health(channel, service):
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def call(channel, database, service, method, fields):
    """Any call with one answer, by its name."""
    pool = DescriptorPool(database)
    found = pool.FindServiceByName(service).FindMethodByName(method)
    request = message_factory.GetMessageClass(found.input_type)(**fields)
    answer = message_factory.GetMessageClass(found.output_type)
    ask = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return ask(request, timeout=30)


def main():
    (target,) = sys.argv[1:]
    with grpc.insecure_channel(target, options=[("grpc.default_authority", "godwit")]) as channel:
        states = {service: health(channel, service) for service in ("", SERVICE)}
        print("health:", states)
        database = ProtoReflectionDescriptorDatabase(channel)
        print("services:", ", ".join(database.get_services()))
        guests = call(channel, database, SERVICE, "ListGuests", {})
        for guest in guests.guests:
            print(json_format.MessageToJson(guest, indent=None, preserving_proto_field_name=True))
        sys.exit(0 if set(states.values()) == {"SERVING"} and len(guests.guests) else 1)


if __name__ == "__main__":
    main()
