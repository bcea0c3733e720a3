"""A client that Rapport's authors did not write: Python's grpcio, with nothing but what server reflection
tells it. Calls every service once, reads one stream, decodes error details, and prints what it saw as one
JSON object. Takes the server's address.
"""

import json
import sys

import grpc
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

# No call here takes longer on a server that works.
SECONDS_MAX = 10


class Reflected:
    """Messages and methods by name, as the server describes them."""

    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def message(self, name, **fields):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))(**fields)

    def method(self, service, name):
        """The callable of a method: what it takes, gives and streams comes from its descriptor."""
        found = self.pool.FindServiceByName(service).FindMethodByName(name)
        kind = ("stream" if found.client_streaming else "unary") + "_" + ("stream" if found.server_streaming else "unary")
        answer = message_factory.GetMessageClass(found.output_type)
        call = getattr(self.channel, kind)(
            f"/{service}/{name}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer.FromString
        )
        return message_factory.GetMessageClass(found.input_type), call

    def unary(self, service, name, **fields):
        request, call = self.method(service, name)
        return call(request(**fields), timeout=SECONDS_MAX)


def packed(message):
    packed = any_pb2.Any()
    packed.Pack(message)
    return {"type_url": packed.type_url, "value": packed.value}


def refusal(call):
    """Code and decoded details of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in rpc_status.from_call(error).details:
            detail.Unpack(info) or detail.Unpack(bad)
        fields = [violation.field for violation in bad.field_violations]
        return {"code": error.code().name, "reason": info.reason, "domain": info.domain, "fields": fields}
    return {"code": "OK"}


def unary_calls(server, seen):
    identifier = {"kind": "IDENTIFIER_KIND_DEVICE", "value": "python"}
    resolved = server.unary("rapport.profile.v1.SubjectService", "ResolveSubject", identifier=identifier)
    subject = resolved.subject_id
    seen["subject_bytes"] = len(subject)
    answer = server.unary("rapport.recommend.v1.RecommendService", "Recommend", subject_id=subject, page_size=3)
    seen["recommend_decision_bytes"] = len(answer.decision_id)
    answer = server.unary(
        "rapport.ads.v1.DecisionService", "Decide", request_id="python", subject_id=subject, placement="home"
    )
    seen["ads_decision_bytes"] = len(answer.decision_id)
    answer = server.unary(
        "rapport.care.v1.CaseService", "OpenCase", request_id="python", subject_id=subject, text="我要退款"
    )
    seen["case_intent"] = answer.analysis.intent
    answer = server.unary("rapport.evaluate.v1.ExperimentService", "ListExperiments")
    seen["experiments"] = len(answer.experiments)
    answer = server.unary("grpc.health.v1.Health", "Check")
    seen["health"] = answer.status
    return subject


def streams(server, subject, seen):
    """Appends by a bidirectional stream, then reads the log back by a server stream."""
    view = server.message("rapport.event.v1.ViewItem", item_id="tea", category="kitchen")
    event = {"event_id": "python-1", "subject_id": subject, "payload": packed(view)}
    request, stream = server.method("rapport.profile.v1.EventService", "StreamEvents")
    batches = iter([request(batch={"events": [event]}), request(batch={"events": [event]})])
    answers = stream(batches, timeout=SECONDS_MAX)
    seen["outcomes"] = [result.outcome for answer in answers for result in answer.results]
    request, tail = server.method("rapport.profile.v1.EventService", "TailEvents")
    cursors = [{"partition": partition} for partition in range(64)]
    frames = tail(request(cursors=cursors, types=["view_item"]), timeout=SECONDS_MAX)
    events = [event for frame in frames for event in frame.batch.events]
    seen["tailed"] = [event.event_id for event in events]
    told = server.message("rapport.event.v1.ViewItem")
    told.ParseFromString(events[0].payload)
    seen["item"] = told.item_id


def errors(server, seen):
    recommend = ("rapport.recommend.v1.RecommendService", "Recommend")
    seen["bad_request"] = refusal(lambda: server.unary(*recommend, subject_id=b"short", page_size=-1))
    unknown = ("rapport.care.v1.CaseService", "GetCase")
    seen["unknown_case"] = refusal(lambda: server.unary(*unknown, case_id=bytes(16)))


def main(address):
    seen = {}
    with grpc.insecure_channel(address) as channel:
        server = Reflected(channel)
        seen["services"] = sorted(server.database.get_services())
        subject = unary_calls(server, seen)
        streams(server, subject, seen)
        errors(server, seen)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
