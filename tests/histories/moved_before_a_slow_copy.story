nodes 3
c1 connects to n0 v5 kept
c2 connects to n1 v3 clean
c1 subscribes a/+ 2
cut n2 n1
c2 publishes a/c 2
c1 connects to n2 v5 kept
