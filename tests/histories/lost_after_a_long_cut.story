# Acknowledged: once the links are whole and every node is `up` in every view, n2 acknowledges a probe to a/b that c0 on n0 never gets.
nodes 3
c0 connects to n0 v5 clean
c1 connects to n2 v3 clean
c2 connects to n1 v5 kept
c0 publishes b 0
heal
cut n2 n0
c0 subscribes a/b 1
stall n1
c2 subscribes a/+ 0
