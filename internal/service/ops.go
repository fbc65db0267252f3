package service

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"exportd/api"
	"exportd/internal/loopback"
	"exportd/internal/panics"
	"exportd/internal/version"
)

const (
	// readyWithin bounds the checks of one readiness probe.
	readyWithin = 2 * time.Second
	// maxScrapes bounds those who read the metrics at the same time, each with all of them in memory:
	// Prometheus asks once in many seconds, from two servers where it is doubled.
	maxScrapes = 4
)

// ops is what a process tells its operators, on a port that the public does not reach.
type ops struct {
	alive   func() error // an error says that only another process can help
	checks  []api.Check
	metrics prometheus.Gatherer
	pprof   bool         // show profiles
	console http.Handler // nil: there is none
	log     *zap.Logger
	panics  *panics.Reporter
}

// buildInfo is a metric that is always 1 and says which build a process is, to be joined with others.
func buildInfo(b version.Build) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "exportd_build_info", Help: "Always 1; the build is in the labels.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "modified": strconv.FormatBool(b.Modified), "go": b.Go},
	}, func() float64 { return 1 })
}

// listenOps opens the port for operators; nil without an address.
func listenOps(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on EXPORTD_OPS_ADDR=%s: %w", addr, err)
	}
	return l, nil
}

// serveOps answers the platform's probes, and who collects metrics, until ctx ends. Without a listener it
// only waits for that.
func serveOps(ctx context.Context, l net.Listener, o ops) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	defer l.Close()
	errorLog, err := zap.NewStdLogAt(o.log.Named("ops"), zapcore.WarnLevel)
	if err != nil {
		return fmt.Errorf("make error log: %w", err)
	}
	o.log.Info("operators are answered", zap.String("ops_addr", l.Addr().String()))
	h := &http.Server{
		Handler: o.answered(atHome(l.Addr(), o.handler())), ErrorLog: errorLog, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: o.writeWithin(), IdleTimeout: time.Minute, MaxHeaderBytes: o.headBytes(),
	}
	stop := context.AfterFunc(ctx, func() { _ = h.Close() })
	defer stop()
	if err := h.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve operators: %w", err)
	}
	return nil
}

// answered tells of panics in h, and answers them.
func (o ops) answered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.panics.Run(panics.Checks, func() { h.ServeHTTP(w, r) }) {
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	})
}

// atHome refuses requests for other hosts where addr is of this machine alone: only a web page would send one
// there. Elsewhere a host may have any name.
func atHome(addr net.Addr, h http.Handler) http.Handler {
	if !loopback.IsHost(addr.String()) {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback.IsHost(r.Host) {
			http.Error(w, "this port answers to loopback addresses only", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// handler: /livez fails when only another process can help, /readyz when a service cannot be used. What was
// wrong goes to the log: the probe's reader sees the name of the service.
func (o ops) handler() http.Handler {
	var told said
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.alive(); err != nil {
			o.log.Error("process is cut off", zap.Error(err))
			http.Error(w, "cut off", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
		defer cancel()
		for _, check := range o.checks {
			if err := check.Run(ctx); err != nil {
				if told.change(check.Name) { // probes come every few seconds
					o.log.Warn("process is not ready", zap.String("check", check.Name), zap.Error(err))
				}
				http.Error(w, check.Name+" is unavailable", http.StatusServiceUnavailable)
				return
			}
		}
		if told.change("") {
			o.log.Info("process is ready again")
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.metrics, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	if o.console != nil {
		mux.Handle(consolePath, o.console)
		mux.Handle(consolePath+"/", o.console)
	}
	if o.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	return mux
}

// writeWithin bounds an answer: of a profile that takes a minute, too. The command line, which net/http/pprof
// would show, is not asked for.
func (o ops) writeWithin() time.Duration {
	if o.pprof {
		return 70 * time.Second
	}
	return 10 * time.Second
}

// headBytes bounds the head of a request: a browser's has cookies, what its proxy says of who asks, and in
// the URL up to a hundred jobs that are chosen.
func (o ops) headBytes() int {
	if o.console != nil {
		return 16 << 10
	}
	return 4 << 10
}

// said is what was said last, "" for nothing.
type said struct {
	mu   sync.Mutex
	what string
}

// change says whether what is to be said is something else than the last time.
func (s *said) change(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.what != what
	s.what = what
	return changed
}
