"""paho-mqtt against one broker, or with the subscriber on one and the publisher on another.

usage: check.py SUBSCRIBER_HOST:PORT PUBLISHER_HOST:PORT MARK

Each check is a function; all run for 3.1.1 and 5.0. Ends with 1 and says which failed.
"""

import queue
import sys
import traceback

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DEADLINE = 10
VERSIONS = {"3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}


class Client:
    """A paho client whose callbacks fill queues, so that a check can wait for what it expects."""

    def __init__(self, address, client_id, version, clean=True, will=None):
        self.messages, self.connects = queue.Queue(), queue.Queue()
        self.subscribes, self.publishes = queue.Queue(), queue.Queue()
        self.version = version
        kept = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=version, **kept)
        self.paho.on_connect = lambda _c, _u, flags, reason, _p: self.connects.put((flags, reason))
        self.paho.on_message = lambda _c, _u, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _c, _u, _mid, reasons, _p: self.subscribes.put(reasons)
        self.paho.on_publish = lambda _c, _u, mid, reason, _p: self.publishes.put((mid, reason))
        if will:
            self.paho.will_set(*will)
        host, port = address.rsplit(":", 1)
        options = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            options = {"clean_start": clean, "properties": properties}
        self.paho.connect(host, int(port), **options)
        self.paho.loop_start()
        flags, reason = self.connects.get(timeout=DEADLINE)
        assert not reason.is_failure, reason
        self.session_present = flags.session_present

    def subscribe(self, topic, qos):
        self.paho.subscribe(topic, qos)
        (granted,) = self.subscribes.get(timeout=DEADLINE)
        assert granted.value == qos, f"asked for {qos}, granted {granted}"

    def publish(self, topic, payload, qos, retain=False):
        self.paho.publish(topic, payload, qos, retain).wait_for_publish(DEADLINE)
        self.publishes.get(timeout=DEADLINE)

    def receive(self):
        return self.messages.get(timeout=DEADLINE)

    def leave(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def vanish(self):
        """Breaks the connection without a DISCONNECT."""
        self.paho.loop_stop()
        self.paho._sock_close()


class Check:
    def __init__(self, here, there, mark, version):
        self.here, self.there, self.mark, self.version = here, there, mark, version

    def subscriber(self, name="sub", **options):
        return Client(self.here, f"{self.mark}{name}", self.version, **options)

    def publisher(self, name="pub", **options):
        return Client(self.there, f"{self.mark}{name}", self.version, **options)

    def each_qos_arrives_in_order(self):
        subscriber, publisher = self.subscriber(), self.publisher()
        for qos in (0, 1, 2):
            topic = f"{self.mark}/qos{qos}"
            subscriber.subscribe(topic, qos)
            for number in range(50):
                publisher.publish(topic, str(number), qos)
            for number in range(50):
                message = subscriber.receive()
                assert (message.payload, message.qos) == (str(number).encode(), qos), (message.payload, number)
        subscriber.leave(), publisher.leave()

    def retained_comes_to_a_new_subscription(self):
        # On one broker: in this version a retained message stays on its node.
        publisher = Client(self.here, f"{self.mark}keeper", self.version)
        publisher.publish(f"{self.mark}/kept", "value", 1, retain=True)
        subscriber = self.subscriber()
        subscriber.subscribe(f"{self.mark}/+", 1)
        message = subscriber.receive()
        assert (message.payload, message.retain) == (b"value", True), message.payload
        publisher.publish(f"{self.mark}/kept", None, 1, retain=True)
        assert subscriber.receive().payload == b""
        subscriber.leave(), publisher.leave()

    def a_will_is_sent_for_who_vanishes(self):
        subscriber = self.subscriber()
        subscriber.subscribe(f"{self.mark}/will", 1)
        self.publisher(will=(f"{self.mark}/will", "gone", 1, False)).vanish()
        assert subscriber.receive().payload == b"gone"
        subscriber.leave()

    def a_session_keeps_messages_for_who_is_away(self):
        subscriber = self.subscriber("away", clean=False)
        assert not subscriber.session_present
        subscriber.subscribe(f"{self.mark}/queue", 2)
        subscriber.leave()
        publisher = self.publisher()
        for number in range(20):
            publisher.publish(f"{self.mark}/queue", str(number), 1 + number % 2)
        subscriber = self.subscriber("away", clean=False)
        assert subscriber.session_present
        received = [int(subscriber.receive().payload) for _ in range(20)]
        # paho hands QoS 2 over at the PUBREL: the order holds for each QoS.
        assert [n for n in received if n % 2 == 0] == list(range(0, 20, 2)), received
        assert [n for n in received if n % 2 == 1] == list(range(1, 20, 2)), received
        subscriber.leave(), publisher.leave()
        self.subscriber("away").leave()  # a clean start discards it


def main():
    here, there, mark = sys.argv[1:]
    failed = 0
    names = [name for name in vars(Check) if not name.startswith("_") and name not in ("subscriber", "publisher")]
    for text, version in VERSIONS.items():
        for name in names:
            try:
                getattr(Check(here, there, f"{mark}{text}{name[:4]}", version), name)()
                print(f"ok {text} {name}")
            except Exception:
                failed += 1
                print(f"FAILED {text} {name}")
                traceback.print_exc()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
