# Counts what the tests of one kernel said, and shows what failed.
#
# `go test -v` says before each line whose it is: "=== RUN TestX" and the like.
function key(name) { return who SUBSEP package SUBSEP name }
function fail(name) { if (!(key(name) in failed)) { failed[key(name)] = 1; order[++n] = key(name) } }

/^== kernel / { release = $3; next }
/^== start / { who = $3; package = $4; current = ""; bad = 0; next }
/^== end / {
	# A binary that dies, or finds fault with what its tests left behind.
	if ($5 != 0 && !bad) { fail(""); count[who, "FAIL"]++ }
	else if ($5 != 0 && out[key("")] != "") fail("")
	spent[who " " package] = $7 - $6
	who = ""
	next
}
/^== done/ { done = 1; next }
who == "" { stray = stray $0 "\n"; next }
/^=== (RUN|NAME|CONT|PAUSE) / { current = $3; next }
/^ *--- (PASS|FAIL|SKIP): / {
	verdict = substr($2, 1, 4)
	count[who, verdict]++
	if (verdict == "FAIL") { bad = 1; fail($3) }
	current = $3
	next
}
/^(nstest:|panic:|fatal error:|PASS$|FAIL$|SIGQUIT)/ { current = "" }
/^(PASS|FAIL)$/ { next }
{ out[key(current)] = out[key(current)] $0 "\n" }

END {
	for (i = 1; i <= n; i++) {
		split(order[i], part, SUBSEP)
		printf "--- FAIL on %s as %s: %s %s\n%s", version, part[1], part[2], part[3], out[order[i]]
	}
	if (!done) {
		printf "--- FAIL on %s: it did not come to its end (qemu: %d)%s\n%s", version, status, who == "" ? "" : ", in " package " as " who, who == "" ? stray : out[key(current)]
		count["root", "FAIL"]++
	}
	if (ENVIRON["NSTOOL_TEST_TIMES"] != "") for (p in spent) printf "%s: %s took %.0f s\n", version, p, spent[p]
	passed = count["root", "PASS"] + count["user", "PASS"]
	failures = count["root", "FAIL"] + count["user", "FAIL"]
	skipped = count["root", "SKIP"] + count["user", "SKIP"]
	printf "%-5s %-28s passed %4d (%d as root), failed %d, skipped %d, in %d s\n", version, release == "" ? "(no kernel)" : release, passed, count["root", "PASS"], failures, skipped, took
	exit failures > 0
}
