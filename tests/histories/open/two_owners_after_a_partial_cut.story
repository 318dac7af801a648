# Owner, Routes: c1 stays connected on n2 for good: n0 could not reach n2 when it took c1 over, and nobody tells n2 later. From seed 26.
nodes 3
c1 connects to n2 v5 clean
cut n2 n0
c1 connects to n0 v5 clean
outlast
heal
