# Owner, Routes: c1 stays connected on n2 for good: n0 could not reach n2 when it took c1 over. Seed 26, seen twice of two, in company of other
# stories on a loaded machine; not shortened (connect n2, cut n2 n0, connect n0, outlast, heal alone passes).
nodes 3
c0 connects to n0 v5 kept
c1 connects to n2 v5 clean
c2 connects to n0 v3 kept
cut n2 n0
c2 publishes a/b 2 retained
c1 connects to n0 v5 clean
c2 clears a/c
outlast
heal
c3 connects to n2 v3 clean
c2 publishes b 0 retained
c4 connects to n0 v5 kept
c1 subscribes a/b 2
slow n0 n1 17
c1 sends b 1
c0 subscribes a 0
c2 sends a 1 retained
kill n0
c3 publishes b 0 retained
c0 subscribes a/b 2
c1 subscribes $share/h/# 0
restart n0
c4 publishes a/b 1
c3 tears
c2 subscribes a/b 1
c1 sends a 2
