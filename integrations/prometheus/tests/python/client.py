"""A client of the StoreAPI, by grpcio and code that protoc has made: reads requests as lines of JSON, and prints answers as such."""

import base64
import json
import sys

import grpc
from google.protobuf import any_pb2
from info.infopb import rpc_pb2 as info_pb2, rpc_pb2_grpc as info_grpc
from store.storepb import rpc_pb2, rpc_pb2_grpc, types_pb2


def matchers(given):
    return [types_pb2.LabelMatcher(type=kind, name=name, value=value) for name, kind, value in given]


def fields(asked):
    """What a request has besides the address, the method, and how much of the answer is wanted."""
    given = {name: value for name, value in asked.items() if name not in ("address", "method", "cancel_after")}
    given["matchers"] = matchers(given.get("matchers", []))
    if "shard_info" in given:
        given["shard_info"] = rpc_pb2.ShardInfo(**given["shard_info"])
    if "hints" in given:
        given["hints"] = any_pb2.Any(**given["hints"])
    return given


def chunk(given):
    raw = given.raw
    data = base64.b64encode(raw.data).decode()
    return {"min": given.min_time, "max": given.max_time, "type": raw.type, "data": data}


def series(stub, asked):
    """All messages of an answer, or so many before it is cancelled."""
    got = {"series": [], "warnings": []}
    call = stub.Series(rpc_pb2.SeriesRequest(**fields(asked)), timeout=60)
    for number, message in enumerate(call, 1):
        kind = message.WhichOneof("result")
        if kind == "series":
            labels = [[label.name, label.value] for label in message.series.labels]
            got["series"].append({"labels": labels, "chunks": [chunk(one) for one in message.series.chunks]})
        elif kind == "warning":
            got["warnings"].append(message.warning)
        if number == asked.get("cancel_after"):
            call.cancel()
            break
    return got


def answer(asked):
    options = [("grpc.max_receive_message_length", 16 << 20)]
    with grpc.insecure_channel(asked["address"], options=options) as channel:
        stub = rpc_pb2_grpc.StoreStub(channel)
        if asked["method"] == "Series":
            return series(stub, asked)
        if asked["method"] == "LabelNames":
            got = stub.LabelNames(rpc_pb2.LabelNamesRequest(**fields(asked)), timeout=60)
            return {"names": list(got.names), "warnings": list(got.warnings)}
        if asked["method"] == "LabelValues":
            got = stub.LabelValues(rpc_pb2.LabelValuesRequest(**fields(asked)), timeout=60)
            return {"values": list(got.values), "warnings": list(got.warnings)}
        got = info_grpc.InfoStub(channel).Info(info_pb2.InfoRequest(), timeout=60)
        sets = [{label.name: label.value for label in labels.labels} for labels in got.label_sets]
        store = got.store
        return {
            "type": got.ComponentType,
            "sets": sets,
            "min": store.min_time,
            "max": store.max_time,
            "sharding": store.supports_sharding,
            "without": store.supports_without_replica_labels,
        }


for line in sys.stdin:
    try:
        print(json.dumps(answer(json.loads(line))), flush=True)
    except grpc.RpcError as error:
        print(json.dumps({"code": error.code().name, "text": error.details()}), flush=True)
