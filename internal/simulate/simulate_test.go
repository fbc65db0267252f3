package simulate

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/localcloud/localcloudtest"
)

var (
	reportTo = flag.String("report", "", "run all scenarios and write the report to this file")
	only     = flag.Int("scenario", -1, "run this scenario and write its result to -result")
	resultTo = flag.String("result", "", "file for the result of -scenario")
	atOnce   = flag.Int("processes", runtime.NumCPU(), "how many scenarios run at a time")
	seedFlag = flag.Uint64("seed", 1, "of all random choices")
)

// simulate runs a scenario in a bubble, with random ids and tokens of the seed.
func simulate(t *testing.T, s Scenario, seed uint64) (res *Result) {
	t.Helper()
	indexes := localcloudtest.Indexes(t)
	cryptotest.SetGlobalRandom(t, seed)
	// One goroutine at a time, so that those of one instant run in their order.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		var err error
		if res, err = Simulate(s, seed, indexes); err != nil {
			t.Fatal(err)
		}
	})
	return res
}

// whole checks what every scenario must show.
func whole(t *testing.T, r *Result) {
	t.Helper()
	if r.Lost+r.Stuck+r.Failed+r.Short > 0 {
		t.Errorf("%s: of %d jobs %d are lost, %d stuck, %d failed and %d have another number of rows", r.Scenario.Name, r.Jobs, r.Lost, r.Stuck, r.Failed, r.Short)
	}
}

// bearable is how full a resource may be in a line of 256 workers.
const bearable = 0.5

// halfFull checks that no document is written oftener than is bearable.
func halfFull(t *testing.T, r *Result) {
	t.Helper()
	for _, l := range r.Loads {
		if l.Resource == "writes of one document" {
			t.Logf("%s: %.0f %% of the limit", l.Of, 100*l.Share())
			if l.Share() > bearable {
				t.Errorf("%s (%s) at %.0f %% of its limit, more than half", l.Resource, l.Of, 100*l.Share())
			}
		}
	}
}

// TestHalf holds at a small size what is full first at a large one: documents of one org and one job, to
// which more workers do not add. The org asks for 150 exports a minute, one of them so large that its parts
// wait for each other.
func TestHalf(t *testing.T) {
	r := simulate(t, Scenario{Name: "half", Workers: 8, Orgs: 1, PerMinute: 150, For: time.Minute, Happens: func(r *Run) { r.Export(30_000_000) }}, 1)
	whole(t, r)
	if r.Jobs < 100 || r.Totals["Firestore writes in ExportPlaces"] < 200 {
		t.Errorf("%d jobs and %d writes of places show nothing", r.Jobs, r.Totals["Firestore writes in ExportPlaces"])
	}
	halfFull(t, r)
}

// TestHalfOfFleet is TestHalf of what all orgs share: by 600 exports a minute, each with a callback, what
// counts them for all together is no fuller than what counts them for one.
func TestHalfOfFleet(t *testing.T) {
	r := simulate(t, Scenario{Name: "half of a fleet", Workers: 8, Orgs: 200, PerMinute: 600, For: time.Minute}, 1)
	whole(t, r)
	if r.Jobs < 500 || r.Totals["Firestore writes in ExportRollups"] < 1500 {
		t.Errorf("%d jobs and %d writes of rollups show nothing", r.Jobs, r.Totals["Firestore writes in ExportRollups"])
	}
	halfFull(t, r)
}

// TestSmall is the form of the simulation that CI runs: everything that can happen, at a small size.
func TestSmall(t *testing.T) {
	s := Scenario{Name: "small", Workers: 6, Orgs: 50, PerMinute: 60, For: 150 * time.Second, Happens: func(r *Run) {
		time.Sleep(20 * time.Second)
		r.Export(1_000_000)
		time.Sleep(10 * time.Second)
		r.KillZone()
		time.Sleep(10 * time.Second)
		r.BrownOut(30 * time.Second)
		time.Sleep(40 * time.Second)
		if err := r.Deploy(); err != nil {
			t.Error(err)
		}
	}}
	r := simulate(t, s, 1)
	whole(t, r)
	if r.Jobs < 100 { // else the test shows nothing
		t.Errorf("%d jobs were accepted, about 150 were asked for", r.Jobs)
	}
}

// TestRetire is the rescuer's burst at a twentieth: what has ended does not make retries late.
func TestRetire(t *testing.T) {
	r := simulate(t, Scenario{Name: "retire", Workers: 8, Orgs: 100, For: 3 * time.Minute, Happens: func(r *Run) {
		if err := r.EndAndRetry(500, 50); err != nil {
			t.Error(err)
		}
	}}, 1)
	whole(t, r)
	if r.Retired.N != 500 || r.Retried.N != 50 {
		t.Errorf("%d jobs were retired and %d retried, 500 and 50 were due", r.Retired.N, r.Retried.N)
	}
	t.Logf("retries late by %s, retired late by %s", r.Retried, r.Retired)
	if late := 5 * time.Second; r.Retried.P99 > late {
		t.Errorf("retries came late by %s, more than %s", r.Retried, late)
	}
}

// TestSameSeed: runs of a seed have the same jobs, and the same calls but for the jitter that workers and job
// store take from the runtime's randomness.
func TestSameSeed(t *testing.T) {
	s := Scenario{Name: "seed", Workers: 3, Orgs: 20, PerMinute: 60, For: 40 * time.Second}
	one, two := simulate(t, s, 7), simulate(t, s, 7)
	if one.Jobs != two.Jobs || one.Rows != two.Rows {
		t.Errorf("%d jobs with %d rows, and with the same seed %d with %d", one.Jobs, one.Rows, two.Jobs, two.Rows)
	}
	for _, what := range []string{"Firestore reads", "Firestore writes", "Pub/Sub messages published", "Storage objects written"} {
		if n, m := one.Totals[what], two.Totals[what]; m < n-n/10-5 || m > n+n/10+5 {
			t.Errorf("%s: %d and, with the same seed, %d", what, n, m)
		}
	}
	if other := simulate(t, s, 8); other.Rows == one.Rows {
		t.Error("another seed gives the same rows")
	}
}

// TestScenario runs one scenario for TestSimulate.
func TestScenario(t *testing.T) {
	if *only < 0 {
		t.Skip("run by TestSimulate")
	}
	raw, err := json.Marshal(simulate(t, Scenarios()[*only], *seedFlag))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*resultTo, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSimulate is make simulate: all scenarios, each in a process of its own.
func TestSimulate(t *testing.T) {
	if *reportTo == "" {
		t.Skip("make simulate")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	results := make([]*Result, len(Scenarios()))
	dir := t.TempDir()
	var g errgroup.Group
	g.SetLimit(*atOnce)
	for i, s := range Scenarios() {
		g.Go(func() error {
			begun := time.Now()
			file := dir + "/" + strconv.Itoa(i)
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestScenario$", "-test.count=1", "-scenario="+strconv.Itoa(i), "-result="+file, "-seed="+strconv.FormatUint(*seedFlag, 10))
			cmd.Stderr = os.Stderr
			if out, err := cmd.Output(); err != nil {
				t.Errorf("%s: %v\n%s", s.Name, err, out)
				return nil
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			results[i] = &Result{}
			if err := json.Unmarshal(raw, results[i]); err != nil {
				return err
			}
			t.Logf("%s, %d workers, %v exports/min: %v, %s; %v of processor", s.Name, s.Workers, s.PerMinute, time.Since(begun).Round(100*time.Millisecond), first(results[i]), cmd.ProcessState.UserTime())
			return nil
		})
	}
	if err := g.Wait(); err != nil || t.Failed() {
		t.Fatal(err)
	}
	if err := os.WriteFile(*reportTo, []byte(Report(results, *seedFlag)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		whole(t, r)
		for _, l := range r.Loads {
			if r.Scenario.Workers == 256 && l.Share() > bearable {
				t.Errorf("%s, 256 workers, %v exports/min: %s (%s) at %.0f %% of its limit, more than half", r.Scenario.Name, r.Scenario.PerMinute, l.Resource, l.Of, 100*l.Share())
			}
		}
	}
}
