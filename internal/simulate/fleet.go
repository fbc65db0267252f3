package simulate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"exportd/internal/backoff"
	"exportd/internal/config"
	"exportd/internal/jobstore"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// zones are what a regional deployment is spread over.
const zones = 3

// fleet is the workers of a scenario, each a real worker.Pool over a real jobstore.Store.
type fleet struct {
	*world
	cfg     config.Config
	members []*member
	started int
	running sync.WaitGroup
	due     asks // nil but where a test watches the rescuers
}

// asks is told which shards a rescuer asks after, and may answer itself.
type asks func(process string, kind jobs.DueKind, shards []int) *jobs.DuePage

// observed is the store of a worker whose rescuer a test watches.
type observed struct {
	*jobstore.Store
	process string
	due     asks
}

// Due tells the test.
func (o observed) Due(ctx context.Context, kind jobs.DueKind, shards []int, now time.Time, limit int, after *jobs.DueCursor) (jobs.DuePage, error) {
	if o.due != nil {
		if page := o.due(o.process, kind, shards); page != nil {
			return *page, nil
		}
	}
	return o.Store.Due(ctx, kind, shards, now, limit, after)
}

// member is one worker process.
type member struct {
	process *process
	zone    int
	term    context.CancelFunc // SIGTERM
	done    chan struct{}
}

// settings are exportd's defaults, with changes.
func settings(changes map[string]string) (config.Config, error) {
	return config.Load(func(name string) string {
		if v, ok := changes[name]; ok {
			return v
		}
		return map[string]string{"EXPORTD_ENV": "development", "EXPORTD_PROJECT_ID": project}[name]
	}, nil)
}

func (w *world) store(p *process, cfg config.Config) (_ *jobstore.Store, closeClient func(), err error) {
	client, err := p.client(context.Background())
	if err != nil {
		return nil, nil, fmt.Errorf("make the client of %s: %w", p.name, err)
	}
	policy := cfg.Policy()
	policy.Jitter = func() float64 { return w.chance("jitter", p.name) }
	if w.policy != nil {
		w.policy(&policy)
	}
	return jobstore.New(jobstore.Config{Client: client, Policy: policy, Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor}), func() { _ = client.Close() }, nil
}

// start adds a worker, which begins within a second and a half: no two tick together.
func (f *fleet) start() error { return f.startAfter(0) }

// startAfter is start where the process is not there for a while.
func (f *fleet) startAfter(while time.Duration) error {
	i := f.started
	f.started++
	p := f.process("worker-" + strconv.Itoa(i))
	store, closeClient, err := f.store(p, f.cfg)
	if err != nil {
		return err
	}
	ctx, term := context.WithCancel(context.Background())
	m := &member{process: p, zone: i % zones, term: term, done: make(chan struct{})}
	f.members = append(f.members, m)
	e := exporter{p, f.cfg}
	pool := worker.New(worker.Config{
		ID: p.name, Store: observed{store, p.name, f.due}, Queue: line{p}, Exporter: e, Log: zap.NewNop(),
		JobSlots: f.cfg.JobSlots, PartSlots: f.cfg.PartSlots, Drain: f.cfg.Drain,
		Callbacks: &worker.CallbackConfig{
			Slots: f.cfg.CallbackSlots, Sender: receivers{p}, Keys: keyring{p}, Files: e, URLLife: f.cfg.URLLife,
			Rand: func() float64 { return f.chance("callback", p.name) },
		},
	})
	f.running.Go(func() {
		defer close(m.done)
		defer closeClient()
		if backoff.Sleep(ctx, while+time.Duration(f.chance("start", p.name)*1.5*float64(time.Second))) == nil {
			_ = pool.Run(ctx) // it always gives nil
		}
	})
	return nil
}

// killZone has every worker of a zone vanish at once.
func (f *fleet) killZone(zone int) {
	f.members = slices.DeleteFunc(f.members, func(m *member) bool {
		if m.zone != zone {
			return false
		}
		m.process.kill()
		m.term() // so that it ends once the scenario is over
		return true
	})
}

// deploy replaces all workers, some at a time: a new one begins, then the old one gets SIGTERM.
func (f *fleet) deploy(atOnce int) error {
	old := f.members
	f.members = nil
	for i := 0; i < len(old); i += atOnce {
		batch := old[i:min(i+atOnce, len(old))]
		for range batch {
			if err := f.start(); err != nil {
				return err
			}
		}
		for _, m := range batch {
			m.term()
		}
		for _, m := range batch {
			<-m.done
		}
	}
	return nil
}

// stop ends all workers and waits for them.
func (f *fleet) stop() {
	for _, m := range f.members {
		m.term()
	}
	f.running.Wait()
}

// receivers stand for all receivers of callbacks: each answers 200 after a while.
type receivers struct{ *process }

// Send makes one try.
func (r receivers) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
	a := webhook.Attempt{StartedAt: time.Now(), Class: "http_200", Status: 200}
	r.count.add("Callbacks sent", 1)
	if err := d.Compose(ctx, &d); err != nil { // as when it is connected
		a.Class, a.Status, a.Err = webhook.ClassInternalError, 0, err
		return a
	}
	if err := backoff.Sleep(ctx, r.scaled(receiverAnswer.at(r.chance("receiver", d.ID)))); err != nil {
		a.Class, a.Status, a.Err = webhook.ClassInterrupted, 0, err
	}
	a.Duration = time.Since(a.StartedAt)
	return a
}

// keyring knows every key. Each try costs a read of one.
type keyring struct{ *process }

// CallbackKey gives a key.
func (k keyring) CallbackKey(ctx context.Context, keyID string) (worker.CallbackKey, error) {
	err := k.ask(ctx, firestoreRead, 0, func() error { k.count.read("key-", 1); return nil }, "key", keyID)
	return worker.CallbackKey{}, err
}
