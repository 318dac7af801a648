nodes 3
c0 connects to n0 v5 kept
c0 subscribes a/# 1
c1 connects to n1 v3 clean
cut n0 n1
c1 sends a 1
heal
