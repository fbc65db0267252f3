package service

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/demo"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// process is an API in this process on an embedded cloud, with demo data.
type process struct {
	*Clients
	cloud *localcloudtest.Cloud
	facts demo.Summary
	url   string
	http  *http.Client
	stop  func()
}

// startOn starts an API on a cloud. Each address is that of the cloud, or stands in for it.
func startOn(t *testing.T, cloud *localcloudtest.Cloud, at localcloud.Endpoints, set map[string]string) *process {
	t.Helper()
	env := map[string]string{
		"FIRESTORE_EMULATOR_HOST": at.Firestore, "PUBSUB_EMULATOR_HOST": at.PubSub, "STORAGE_EMULATOR_HOST": at.Storage,
		"EXPORTD_PROJECT_ID": localcloudtest.Project, "EXPORTD_RATE_IP_PER_SECOND": "0", "EXPORTD_RATE_KEY_PER_SECOND": "0",
	}
	for k, v := range set {
		env[k] = v
	}
	cfg, err := config.Load(func(name string) string { return env[name] }, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &process{cloud: cloud, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2000}}}
	if s.Clients, err = Open(t.Context(), cfg, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	target, closeTarget, err := demo.DialEmulator(t.Context(), cloud.Endpoints().Firestore, localcloudtest.Project)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closeTarget() }()
	if s.facts, err = demo.Load(t.Context(), target, demo.Options{Seed: 1, Users: 200, Messages: 200, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- ServeAPI(ctx, cfg, s.Clients, zap.NewNop(), l, APIOptions{}) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve API: %v", err)
		}
		s.http.CloseIdleConnections()
		_ = s.Close()
	})
	t.Cleanup(s.stop)
	return s
}

// request makes a request signed by the demo's key.
func (s *process) request(ctx context.Context, path string, query url.Values, header ...string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path+"?"+query.Encode(), nil)
	if err != nil {
		panic(err) // a path that is written in this file
	}
	date := time.Now().UTC().Format(time.RFC3339Nano)
	r.Header.Set("x-api-key", s.facts.APIKey)
	r.Header.Set("x-date", date)
	r.Header.Set("x-signature", apikey.Sign(s.facts.Secret, date))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (s *process) get(ctx context.Context, path string, query url.Values, header ...string) (int, http.Header, []byte, error) {
	res, err := s.http.Do(s.request(ctx, path, query, header...))
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, body, err
}

// lists asks for pages of users, four at a time, and gives how long each took.
func (s *process) lists(t *testing.T, n int) (took []time.Duration) {
	t.Helper()
	query := url.Values{"workspaceId": {s.facts.WorkspaceID}, "mediumId": {s.facts.MediumID}, "limit": {"20"}}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range n / 4 {
				began := time.Now()
				code, _, body, err := s.get(t.Context(), "/vip-users", query)
				if err != nil || code != http.StatusOK {
					t.Errorf("list = %d, %v: %.200s", code, err, body)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	return took
}

func p99(took []time.Duration) time.Duration { return took[len(took)*99/100] }

// queued makes jobs, which no worker takes.
func (s *process) queued(t *testing.T, n int) (ids []string) {
	t.Helper()
	store := jobstore.New(jobstore.Config{Client: s.cloud.Firestore, Policy: s.Store.Policy(), ReuseFor: time.Minute})
	for i := range n {
		got, err := store.Submit(t.Context(), jobs.Submission{OrgID: s.facts.OrgID, KeyID: s.facts.APIKey, Kind: "vip-users", Fresh: true, Params: jobs.Params{
			"profile": jobs.ProfileRFC4180, "workspaceId": s.facts.WorkspaceID, "mediumId": s.facts.MediumID, "birthdayMonth": int64(i%12 + 1),
		}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got.Job.ID)
	}
	return ids
}

// crowd are callers that wait for jobs to end, by long-polls and by event streams.
type crowd struct {
	waiting, streaming, ended, unavailable atomic.Int64
	all                                    sync.WaitGroup
}

// gather has callers wait for jobs in turn, each until its job has ended.
func (s *process) gather(t *testing.T, ids []string, polls, streams int) *crowd {
	c := &crowd{}
	for i := range polls {
		c.all.Go(func() { c.poll(t, s, ids[i%len(ids)]) })
	}
	for i := range streams {
		c.all.Go(func() { c.follow(t, s, ids[i%len(ids)]) })
	}
	return c
}

func (c *crowd) poll(t *testing.T, s *process, id string) {
	for t.Context().Err() == nil {
		c.waiting.Add(1)
		code, header, body, err := s.get(t.Context(), "/exports/"+id, nil, "Prefer", "wait=25")
		c.waiting.Add(-1)
		var job struct{ State string }
		switch {
		case err != nil:
			continue // the server stops, or the test has failed
		case code == http.StatusServiceUnavailable:
			c.unavailable.Add(1)
			continue
		case code != http.StatusOK || json.Unmarshal(body, &job) != nil || header.Get("Preference-Applied") == "":
			t.Errorf("wait = %d, %v: %.200s", code, header, body)
			return
		}
		if jobs.State(job.State).Ended() {
			c.ended.Add(1)
			return
		}
	}
}

func (c *crowd) follow(t *testing.T, s *process, id string) {
	for t.Context().Err() == nil {
		res, err := s.http.Do(s.request(t.Context(), "/exports/"+id+"/events", nil))
		if err != nil {
			continue
		}
		if res.StatusCode != http.StatusOK {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusServiceUnavailable {
				c.unavailable.Add(1)
				continue
			}
			t.Errorf("event stream = %d", res.StatusCode)
			return
		}
		c.streaming.Add(1)
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			if bytes.Contains(lines.Bytes(), []byte(`"state":"canceled"`)) {
				c.ended.Add(1)
				_ = res.Body.Close()
				return
			}
		}
		_ = res.Body.Close() // connect again, as EventSource does
	}
}

// A thousand waiting callers and five hundred event streams take a few streams of one connection of their
// own. Beside them lists are answered, and after a restart of Firestore, too; then all are told that their
// jobs have ended.
func TestCrowd(t *testing.T) {
	cloud := localcloudtest.Start(t)
	s := startOn(t, cloud, cloud.Endpoints(), nil)
	polls, streams, pages := 1000, 500, 200
	if os.Getenv("EXPORTD_CROWD") != "" { // make crowd
		pages = 2000
	}
	ids := s.queued(t, 300)
	s.lists(t, 40) // warm
	alone := s.lists(t, pages)
	before := s.guards.firestore.Open()
	c := s.gather(t, ids, polls, streams)
	crowded := func() bool { // their jobs are watched, and their key
		return s.documents.Load().Targets == len(ids)+1 && c.waiting.Load() == int64(polls) && c.streaming.Load() >= int64(streams)
	}
	await(t, crowded)
	load, connections := s.documents.Load(), s.guards.firestore.Open()
	if load.Connections != 1 || load.Streams > (len(ids)+99)/100+1 || connections > before+1 {
		t.Errorf("%+v on %d connections, %d before the crowd", load, connections, before)
	}
	beside := s.lists(t, pages)
	cloud.Restart(t)
	await(t, func() bool { // all find it again
		code, _, _, err := s.get(t.Context(), "/readyz", nil)
		return err == nil && code == http.StatusOK && s.documents.Load() == load
	})
	s.lists(t, 40)
	after := s.lists(t, pages)
	unavailable := c.unavailable.Load()
	store := jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: s.Store.Policy(), ReuseFor: time.Minute})
	for _, id := range ids {
		if _, err := store.Update(t.Context(), id, "test", func(tx *jobs.Tx) error { return tx.Cancel("enough") }); err != nil {
			t.Fatal(err)
		}
	}
	c.all.Wait()
	// A machine on which a list takes seconds beside them has read nothing in time for some of them.
	able := max(p99(beside), p99(after)) < 2*time.Second
	if n := c.ended.Load(); n != int64(polls+streams) || unavailable != 0 && able {
		t.Errorf("%d of %d were told the end; %d times 503", n, polls+streams, unavailable)
	}
	t.Logf("%d waits and %d event streams on %d jobs: %d streams on %d connection of %d; lists p99 alone %s, beside them %s (%.1fx), after a restart of Firestore %s (%.1fx)",
		polls, streams, len(ids), load.Streams, load.Connections, connections, p99(alone), p99(beside), ratio(beside, alone), p99(after), ratio(after, alone))
}

func ratio(a, b []time.Duration) float64 { return float64(p99(a)) / float64(p99(b)) }

// await waits until something real, not the test's clock, has come true.
func await(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("condition did not come true")
		}
	}
}
