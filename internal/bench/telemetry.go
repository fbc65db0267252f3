package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"exportd/internal/connection"
	"exportd/internal/records"
	"exportd/internal/telemetry"
)

const (
	// scrapeEvery is more often than a Prometheus asks, which is every 15 to 60 s.
	scrapeEvery = 5 * time.Second
	// telemetryLimit is what telemetry may cost: a fiftieth.
	telemetryLimit = 1.02
)

// telemetryLines is line k: lines a, c and i with telemetry on and off, in turns. On is what production has:
// calls counted, the port for operators scraped, and every span exported to a collector on this machine,
// which is more than the sampled share of production. Off is neither port nor collector.
func (s *suite) telemetryLines(ctx context.Context) (_ []line, err error) {
	k, err := startSink()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	var out []line
	for _, measure := range []func(context.Context, *sink) ([]line, error){s.scanTold, s.exportTold, s.listsTold} {
		got, err := measure(ctx, k)
		out = append(out, got...)
		if err != nil {
			return out, err
		}
	}
	s.note("telemetry: the collector was sent %s bytes, metrics were read %d times", number(k.received), k.scrapes)
	if k.received == 0 || k.scrapes == 0 {
		return out, errors.New("telemetry was not on")
	}
	return out, nil
}

// pair is what a round took, with telemetry on and off.
type pair struct{ on, off float64 }

// pairs measures rounds of both, each first in every other round, after one to warm up.
func (s *suite) pairs(ctx context.Context, title string, once func(ctx context.Context, on bool) ([]float64, error)) ([][]pair, error) {
	var out [][]pair
	for round := range s.sizes.told + 1 {
		got := map[bool][]float64{}
		for turn := range 2 {
			on := (round+turn)%2 == 0
			runtime.GC()
			var err error
			if got[on], err = once(ctx, on); err != nil {
				return nil, err
			}
		}
		if round == 0 {
			continue
		}
		if out == nil {
			out = make([][]pair, len(got[true]))
		}
		for i := range out {
			out[i] = append(out[i], pair{got[true][i], got[false][i]})
		}
		s.note("telemetry, %s: round %d of %d", title, round, s.sizes.told)
	}
	return out, nil
}

// toldLine is a line of a ratio, with the quarter of the rounds below and above it.
func toldLine(what, unit string, p []pair, goal *target) line {
	ratios := make([]float64, len(p))
	for i := range p {
		ratios[i] = p[i].on / p[i].off
	}
	slices.Sort(ratios)
	n := len(ratios)
	return line{
		what: fmt.Sprintf("%s, telemetry on / off; half of %d rounds within %.3f to %.3f", what, n, ratios[n/4], ratios[n-1-n/4]),
		ours: fmt.Sprintf("%.3f %s", median(p, func(v pair) float64 { return v.on }), unit), against: fmt.Sprintf("%.3f %s", median(p, func(v pair) float64 { return v.off }), unit),
		value: median(ratios, func(v float64) float64 { return v }), format: "%.3f×", target: goal,
	}
}

// scansTold are scans in a turn: one takes 0.2 s, in which what else the machine does is more than the 2 %
// that are looked for (half of ten rounds of one scan were within 0.96 to 1.07).
const scansTold = 10

// scanTold is line a's scan, with the counting of calls and without.
func (s *suite) scanTold(ctx context.Context, _ *sink) (_ []line, err error) {
	rows := s.sizes.scan
	server, err := startReplay(rows)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	calls := telemetry.NewCalls()
	readers := map[bool]*records.Reader{}
	for on, g := range map[bool]*connection.Guard{
		true: {Called: func(ctx context.Context, c connection.Call) {
			calls.GRPC(ctx, "firestore", c.Method, c.Err, c.Received, c.Written)
		}},
		false: nil,
	} {
		if readers[on], err = records.Open(ctx, records.Config{ProjectID: "replay", Emulator: server.addr, Connections: 1, Guard: g}); err != nil {
			return nil, err
		}
		defer readers[on].Close()
	}
	got, err := s.pairs(ctx, "scan", func(ctx context.Context, on bool) ([]float64, error) {
		begun, busy := time.Now(), cpuTime()
		for range scansTold {
			if err := want(rows)(scanOurs(ctx, readers[on], rows)); err != nil {
				return nil, err
			}
		}
		return []float64{time.Since(begun).Seconds(), (cpuTime() - busy).Seconds()}, nil
	})
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("a: %d scans of %s rows", scansTold, number(rows))
	return []line{toldLine(what, "s", got[0], atMost(telemetryLimit)), toldLine(what+", CPU", "s", got[1], nil)}, nil
}

// exportTold is line c's export. Each is the first of a new worker, as two would share it.
func (s *suite) exportTold(ctx context.Context, k *sink) ([]line, error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	rows := s.sizes.export
	got, err := s.pairs(ctx, "export", func(ctx context.Context, on bool) (_ []float64, err error) {
		env, stop, err := k.env(on)
		if err != nil {
			return nil, err
		}
		f, err := b.startFleet(ctx, 1, env...)
		if err != nil {
			stop()
			return nil, err
		}
		defer func() { stop(); err = errors.Join(err, f.stop()) }()
		busy, err := f.workers[0].cpu()
		if err != nil {
			return nil, err
		}
		_, took, err := f.timed(ctx, rows)
		if err != nil {
			return nil, err
		}
		spent, err := f.workers[0].cpu()
		return []float64{took.Seconds(), (spent - busy).Seconds()}, err
	})
	if err != nil {
		return nil, err
	}
	what := "c: export of " + number(rows) + " messages"
	return []line{toldLine(what, "s", got[0], atMost(telemetryLimit)), toldLine(what+", the worker's CPU", "s", got[1], nil)}, nil
}

// listsTold is line i's lists, without exports beside them, from two APIs in turns.
func (s *suite) listsTold(ctx context.Context, k *sink) (_ []line, err error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	apis := map[bool]*listAPI{}
	for _, on := range []bool{true, false} {
		env, stop, err := k.env(on)
		if err != nil {
			return nil, err
		}
		api, err := s.startListAPI(ctx, b, env...)
		if err != nil {
			stop()
			return nil, err
		}
		defer func() { stop(); err = errors.Join(err, api.stop()) }()
		apis[on] = api
	}
	mix, err := listMix(ctx, apis[true].caller, s.sizes.listMessages)
	if err != nil {
		return nil, err
	}
	n := max(1, s.sizes.listRequests/10)
	got, err := s.pairs(ctx, "lists", func(ctx context.Context, on bool) ([]float64, error) {
		busy, err := apis[on].process.cpu()
		if err != nil {
			return nil, err
		}
		times, failed := sendLists(ctx, apis[on].caller, mix, n)
		if len(failed) > 0 {
			return nil, fmt.Errorf("%d lists failed: %w", len(failed), failed[0])
		}
		spent, err := apis[on].process.cpu()
		return []float64{milliseconds(quantile(times, 0.5)), milliseconds(spent-busy) / float64(n)}, err
	})
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("i: %s lists at %d a second", number(n), listsPerSecond)
	return []line{toldLine(what+", median", "ms", got[0], atMost(telemetryLimit)), toldLine(what+", the API's CPU of one", "ms", got[1], nil)}, nil
}

// sink is a collector that takes all spans and keeps none, and who asks for metrics.
type sink struct {
	server *http.Server
	url    string
	served sync.WaitGroup

	mu                sync.Mutex
	received, scrapes int64
}

func startSink() (*sink, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for spans: %w", err)
	}
	k := &sink{url: "http://" + l.Addr().String()}
	k.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body) // what came, came
		k.mu.Lock()
		defer k.mu.Unlock()
		k.received += n
	})}
	k.served.Go(func() { _ = k.server.Serve(l) }) // ends when it is closed
	return k, nil
}

func (k *sink) close() error {
	err := k.server.Close()
	k.served.Wait()
	return err
}

// env are the settings of a process with telemetry on or off. While on, its metrics are read until stop is
// called.
func (k *sink) env(on bool) (env []string, stop func(), err error) {
	if !on {
		return []string{"EXPORTD_OPS_ADDR=none", "OTEL_SDK_DISABLED=true"}, func() {}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("find a free port: %w", err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		for tick := time.Tick(scrapeEvery); ; {
			select {
			case <-tick:
				k.scrape(ctx, "http://"+addr+"/metrics")
			case <-ctx.Done():
				k.scrape(context.WithoutCancel(ctx), "http://"+addr+"/metrics") // the process is still there
				return
			}
		}
	})
	return []string{"EXPORTD_OPS_ADDR=" + addr, "OTEL_EXPORTER_OTLP_ENDPOINT=" + k.url, "OTEL_SDK_DISABLED=false"}, func() { cancel(); asking.Wait() }, nil
}

// scraper keeps no connections: a process that is gone leaves none behind.
var scraper = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (k *sink) scrape(ctx context.Context, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	resp, err := scraper.Do(req)
	if err != nil {
		return // not there yet, or just gone
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == http.StatusOK {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.scrapes++
	}
}

// tick is the unit of times in /proc/PID/stat, which is USER_HZ, 100 on every Linux of today.
const tick = 10 * time.Millisecond

// cpu is the processor time that the process has had.
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time (Linux only): %w", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // after the name, which may hold anything
	fields := strings.Fields(rest)
	var user, system int64
	if len(fields) < 13 {
		return 0, fmt.Errorf("no CPU time in the status of process %d", p.cmd.Process.Pid)
	}
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", p.cmd.Process.Pid, err)
	}
	return time.Duration(user+system) * tick, nil
}
