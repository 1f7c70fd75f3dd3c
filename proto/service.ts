/**
 * The agent protocol's service in the shape that grpc-js wants (its `ServiceDefinition`),
 * over protobuf-es messages. Gateway and agent share it; it loads no gRPC library.
 */
import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { AgentGateway } from "./gen/agent_pb.ts";

/** One method: structurally grpc-js's `MethodDefinition<I, O>`. */
export interface Method<I, O> {
  /** `/package.Service/Method`. */
  path: string;
  requestStream: boolean;
  responseStream: boolean;
  requestSerialize: (value: I) => Buffer;
  requestDeserialize: (bytes: Buffer) => I;
  responseSerialize: (value: O) => Buffer;
  responseDeserialize: (bytes: Buffer) => O;
  originalName: string;
}

function serializer<D extends DescMessage>(schema: D): (value: MessageShape<D>) => Buffer {
  return (value) => {
    const bytes = toBinary(schema, value);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer<D extends DescMessage>(schema: D): (bytes: Buffer) => MessageShape<D> {
  return (bytes) => fromBinary(schema, bytes);
}

interface Described<I extends DescMessage, O extends DescMessage> {
  readonly input: I;
  readonly output: O;
  readonly name: string;
  readonly localName: string;
  readonly methodKind: string;
}

function method<I extends DescMessage, O extends DescMessage>(
  described: Described<I, O>,
): Method<MessageShape<I>, MessageShape<O>> {
  return {
    path: `/${AgentGateway.typeName}/${described.name}`,
    requestStream: described.methodKind === "bidi_streaming" || described.methodKind === "client_streaming",
    responseStream: described.methodKind === "bidi_streaming" || described.methodKind === "server_streaming",
    requestSerialize: serializer(described.input),
    requestDeserialize: deserializer(described.input),
    responseSerialize: serializer(described.output),
    responseDeserialize: deserializer(described.output),
    originalName: described.localName,
  };
}

/** For `server.addService(agentGatewayService, ...)`, and for `client.makeBidiStreamRequest(path, ...)`. */
export const agentGatewayService = {
  session: method(AgentGateway.method.session),
  join: method(AgentGateway.method.join),
  renew: method(AgentGateway.method.renew),
} as const;
