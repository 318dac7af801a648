set -x
D=/tmp/durtry; rm -rf $D; mkdir -p $D
B=./target/debug/brokerd
start() { $B --set listeners.tcp.default.bind=127.0.0.1:21883 --set node.data_dir=$D --set persistence.backend=disk --set admin.listen=127.0.0.1:21884 >>$D.log 2>&1 & P=$!; for i in $(seq 50); do mosquitto_pub -p 21883 -t x -m x 2>/dev/null && break; sleep 0.1; done; }
: >$D.log
start
mosquitto_sub -p 21883 -i dev -c -q 2 -t 'a/#' -E
for i in 1 2 3; do mosquitto_pub -p 21883 -t a/$i -m m$i -q 1; done
mosquitto_pub -p 21883 -t a/q2 -m two -q 2
mosquitto_pub -p 21883 -t r/1 -m kept -q 1 -r
kill -9 $P; wait $P 2>/dev/null
start
mosquitto_sub -p 21883 -i dev -c -q 2 -t 'a/#' -v -W 1
mosquitto_sub -p 21883 -t 'r/#' -v -W 1
mosquitto_pub -p 21883 -t a/again -m m9 -q 1
kill -9 $P; wait $P 2>/dev/null
start
mosquitto_sub -p 21883 -i dev -c -q 2 -t 'a/#' -v -W 1
kill $P; wait $P; cat $D.log
