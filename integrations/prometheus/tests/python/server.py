"""A server of the StoreAPI, by grpcio, that misbehaves in the way that its argument says. Prints its port."""

import struct
import sys
import time
from concurrent import futures

import grpc
from store.labelpb import types_pb2 as label_pb2
from store.storepb import rpc_pb2, rpc_pb2_grpc, types_pb2

MODE = sys.argv[1]
START_MS = 1_700_006_400_000


def series(name, data=None, kind=0):
    # One sample, 1.0 at the start, by the XOR encoding: how many there are, the time as a zigzag varint, the value.
    if data is None:
        time_ms, encoded = START_MS << 1, b""
        while time_ms >= 0x80:
            encoded += bytes([time_ms & 0x7F | 0x80])
            time_ms >>= 7
        data = struct.pack(">H", 1) + encoded + bytes([time_ms]) + struct.pack(">d", 1.0)
    raw = types_pb2.Chunk(type=kind, data=data)
    chunk = types_pb2.AggrChunk(min_time=START_MS, max_time=START_MS, raw=raw)
    labels = [label_pb2.Label(name="__name__", value=name)]
    return rpc_pb2.SeriesResponse(series=types_pb2.Series(labels=labels, chunks=[chunk]))


class Store(rpc_pb2_grpc.StoreServicer):
    def Series(self, request, context):
        if MODE == "hangs":
            time.sleep(3600)
        if MODE == "good":
            yield series("python_a")
            yield series("python_b")
        elif MODE == "hangs-later":
            yield series("python_a")
            time.sleep(3600)
        elif MODE == "order":
            yield series("python_b")
            yield series("python_a")
        elif MODE == "encoding":
            yield series("python_a", b"\x00\x01", 9)
        elif MODE == "garbage":
            # It says that it has 65,535 samples.
            yield series("python_a", b"\xff\xff\x01")
            yield series("python_b")
        elif MODE == "fails":
            yield series("python_a")
            context.abort(grpc.StatusCode.INTERNAL, "it is all broken")
        elif MODE == "raises":
            yield series("python_a")
            raise ValueError("nobody catches this")
        elif MODE == "endless":
            number = 0
            while context.is_active():
                yield series(f"python_{number:012}")
                number += 1
        elif MODE == "warns":
            yield series("python_a")
            yield rpc_pb2.SeriesResponse(warning="a disk is missing")


def main():
    if MODE == "closes":
        # It takes connections and hangs up.
        import socket

        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        while True:
            listener.accept()[0].close()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    rpc_pb2_grpc.add_StoreServicer_to_server(Store(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


main()
