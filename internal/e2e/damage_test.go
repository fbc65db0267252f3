package e2e

import (
	"bytes"
	"testing"
	"time"

	"exportd/internal/connection/connectiontest"
	"exportd/internal/e2e/e2etest"
)

// TestDamagedBytes: the network changes bytes between a worker and all three services. First what comes of
// Firestore crosses it in TLS, as in production, where a changed byte ends the connection: nothing else could
// tell a changed row. Pub/Sub and Storage are met in plain text, in which frames, names and files change
// unseen. No file is wrong, and every job ends right once the network is good. Then rows and jobs come
// damaged too: every job ends, some failed, and those that begin on a good network are right. Nothing dies; a
// worker once did, at a value of no type.
func TestDamagedBytes(t *testing.T) {
	t.Parallel()
	cloud, direct := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, direct, e2etest.Sizes{Users: 200, Messages: 2000}, "EXPORTD_WAIT_SECONDS=0")
	over := func(firestore *connectiontest.Proxy) *damaging {
		d := &damaging{Stack: s, firestore: firestore, pubsub: connectiontest.Start(t, direct.PubSub), storage: connectiontest.Start(t, direct.Storage)}
		hosts := direct
		hosts.Firestore, hosts.PubSub, hosts.Storage = d.firestore.Addr, d.pubsub.Addr, d.storage.Addr
		d.worker = e2etest.Worker(t, exportd, hosts, "EXPORTD_PART_ROWS=100", "EXPORTD_LEASE_SECONDS=3")
		return d
	}
	d := over(connectiontest.StartTLS(t, direct.Firestore))
	_, file := s.Caller().Export(t, "vip-messages", s.Messages())
	for id, j := range d.run(t, "in TLS") {
		if j.State != "succeeded" {
			t.Errorf("job %s is %s: %+v", id, j.State, j.Error)
		} else if got := e2etest.Download(t, *j.CSVURL).Body; !bytes.Equal(got, file) {
			t.Errorf("file of job %s: %s", id, firstDifference(got, file))
		}
	}
	alive(t, map[string]*e2etest.Process{"cloud": cloud, "worker": d.worker, "API": s.Process})
	d.worker.Kill()
	d = over(connectiontest.Start(t, direct.Firestore))
	d.run(t, "in plain text")
	if _, got := s.Caller().Export(t, "vip-messages", s.Messages()); !bytes.Equal(got, file) {
		t.Errorf("a file of after healing: %s", firstDifference(got, file))
	}
	alive(t, map[string]*e2etest.Process{"cloud": cloud, "worker": d.worker, "API": s.Process})
}

func alive(t *testing.T, processes map[string]*e2etest.Process) {
	t.Helper()
	for name, p := range processes {
		select {
		case <-p.Done():
			t.Errorf("the %s ended", name)
		default:
		}
	}
}

// damagedFor is how long bytes are changed at least, damagedJobs how many jobs begin meanwhile. damagedWithin
// is when the network and the jobs are given up: they took up to 2 minutes on a machine with 15 times the
// work that it can do, as each fault costs a pause.
const (
	damagedFor    = 2 * time.Second
	damagedJobs   = 15
	damagedWithin = 2 * exportWithin
)

// damaging is a worker whose ways to the services can change bytes.
type damaging struct {
	*e2etest.Stack
	worker                     *e2etest.Process
	firestore, pubsub, storage *connectiontest.Proxy
}

// run has jobs meet changed bytes, and returns how they ended once no more are changed.
func (d *damaging) run(t *testing.T, firestore string) map[string]e2etest.Job {
	t.Helper()
	d.firestore.Damage(50_000)
	d.pubsub.Damage(1_000)
	d.storage.Damage(5_000)
	var met []string
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	enough := int64(5)
	for begun := time.Now(); time.Since(begun) < damagedFor || len(met) < damagedJobs || min(d.firestore.Damaged(), d.pubsub.Damaged(), d.storage.Damaged()) < enough; <-tick.C {
		if len(met) < damagedJobs {
			met = append(met, d.Caller().Submit(t, "vip-messages", d.Messages(), "Cache-Control", "no-cache"))
		}
		if time.Since(begun) > damagedWithin/4 {
			enough = 1 // the less gets through, the less there is to damage
		}
		if time.Since(begun) > damagedWithin {
			t.Fatal("too little crossed the network")
		}
	}
	for _, p := range []*connectiontest.Proxy{d.firestore, d.pubsub, d.storage} {
		p.Heal()
	}
	healed, attempts, ends, ended := time.Now(), 0, map[string]int{}, map[string]e2etest.Job{}
	for _, id := range met {
		j := d.Caller().Await(t, id, damagedWithin)
		how := j.State
		if j.Error != nil {
			how += " " + j.Error.Code
		}
		attempts, ended[id] = attempts+j.Attempt, j
		ends[how]++
	}
	t.Logf("Firestore %s: bytes changed to and from Firestore %d, Pub/Sub %d, Storage %d; %d jobs in %d attempts, all ended %s after healing: %v",
		firestore, d.firestore.Damaged(), d.pubsub.Damaged(), d.storage.Damaged(), len(met), attempts, time.Since(healed).Round(time.Millisecond), ends)
	return ended
}
