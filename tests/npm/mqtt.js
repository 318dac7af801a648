// mqtt of npm over WebSocket, plain and secure, in 3.1.1 and 5.0: every QoS, a retained message, a will, and a session
// that is resumed with what came meanwhile.
//
// usage: mqtt.js URL [CA_FILE]        the subprotocol is the client's own: mqtt
"use strict";
const assert = require("node:assert");
const { once } = require("node:events");
const { readFileSync } = require("node:fs");
const mqtt = require("mqtt");

const DEADLINE = 10_000;
const [url, caFile] = process.argv.slice(2);
const LARGE = Buffer.from(Array.from({ length: 300_000 }, (_, at) => at % 256));

/** A client and what comes to it, in order. */
async function connect(version, clientId, more = {}) {
  const ca = caFile && { ca: readFileSync(caFile) };
  const options = { protocolVersion: version, clientId, reconnectPeriod: 0, connectTimeout: DEADLINE, ...ca, ...more };
  const client = mqtt.connect(url, options);
  client.came = [];
  client.on("message", (topic, payload, packet) => {
    client.came.push({ topic, payload, qos: packet.qos, retain: packet.retain, properties: packet.properties });
    client.emit("came");
  });
  const [connack] = await once(client, "connect", { signal: AbortSignal.timeout(DEADLINE) });
  client.connack = connack;
  return client;
}

async function next(client) {
  while (client.came.length === 0) {
    await once(client, "came", { signal: AbortSignal.timeout(DEADLINE) });
  }
  return client.came.shift();
}

async function everyQos(version, root) {
  const client = await connect(version, `${root}-qos`);
  const topic = `${root}/qos`;
  const [granted] = await client.subscribeAsync(topic, { qos: 2 });
  assert.strictEqual(granted.qos, 2);
  for (const qos of [0, 1, 2]) {
    for (const payload of [Buffer.alloc(0), Buffer.from("hello"), LARGE]) {
      const properties = version === 5 ? { properties: { userProperties: { a: "b" }, contentType: "x" } } : {};
      await client.publishAsync(topic, payload, { qos, ...properties });
      const message = await next(client);
      assert.deepStrictEqual([message.topic, message.qos, message.retain], [topic, qos, false]);
      assert.ok(message.payload.equals(payload), `${message.payload.length} bytes, not ${payload.length}`);
      if (version === 5) {
        assert.strictEqual(message.properties.userProperties.a, "b");
        assert.strictEqual(message.properties.contentType, "x");
      }
    }
  }
  await client.unsubscribeAsync(topic);
  await client.endAsync();
}

async function resumed(version, root) {
  const lasting = { clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 300 } }) };
  const publisher = await connect(version, `${root}-publisher`);
  let client = await connect(version, `${root}-lasting`, lasting);
  assert.strictEqual(client.connack.sessionPresent, false);
  await client.subscribeAsync(`${root}/kept/#`, { qos: 2 });
  client.stream.destroy(); // no DISCONNECT
  await once(client, "close");
  for (const qos of [1, 2]) {
    await publisher.publishAsync(`${root}/kept/${qos}`, `while away ${qos}`, { qos });
  }
  client = await connect(version, `${root}-lasting`, lasting);
  assert.strictEqual(client.connack.sessionPresent, true);
  for (const qos of [1, 2]) {
    const message = await next(client);
    assert.deepStrictEqual([message.payload.toString(), message.qos], [`while away ${qos}`, qos]);
  }
  await client.endAsync();
  await publisher.endAsync();
}

/** The client's own reconnect: the same object finds its session again. */
async function reconnects(version, root) {
  const lasting = { clean: false, reconnectPeriod: 20, resubscribe: false };
  const client = await connect(version, `${root}-again`, {
    ...lasting,
    ...(version === 5 && { properties: { sessionExpiryInterval: 300 } }),
  });
  await client.subscribeAsync(`${root}/again`, { qos: 1 });
  client.stream.destroy();
  const [connack] = await once(client, "connect", { signal: AbortSignal.timeout(DEADLINE) });
  assert.strictEqual(connack.sessionPresent, true);
  await client.publishAsync(`${root}/again`, "back", { qos: 1 });
  assert.strictEqual((await next(client)).payload.toString(), "back");
  await client.endAsync();
}

async function retainedAndWill(version, root) {
  const will = { topic: `${root}/will`, payload: "gone", qos: 1, retain: false };
  const dying = await connect(version, `${root}-dying`, { will });
  const client = await connect(version, `${root}-heir`);
  await client.publishAsync(`${root}/retained`, "kept", { qos: 1, retain: true });
  await client.subscribeAsync([`${root}/retained`, `${root}/will`], { qos: 1 });
  const kept = await next(client);
  assert.deepStrictEqual([kept.payload.toString(), kept.retain], ["kept", true]);
  dying.stream.destroy();
  assert.strictEqual((await next(client)).payload.toString(), "gone");
  await client.publishAsync(`${root}/retained`, "", { qos: 1, retain: true });
  await client.endAsync();
}

async function main() {
  for (const version of [4, 5]) {
    for (const check of [everyQos, resumed, reconnects, retainedAndWill]) {
      await check(version, `npm${version}`).catch((error) => {
        throw new Error(`${check.name}, version ${version}`, { cause: error });
      });
    }
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
