package api

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/filelink"
	"exportd/internal/jsonrow"
	"exportd/internal/panics"
	"exportd/internal/tracing"
	"exportd/internal/version"
	"exportd/internal/vip"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// Config is what a Server needs.
type Config struct {
	// Keys finds API keys; required, as are the four below.
	Keys    apikey.LookupFunc
	Records Records
	Jobs    Jobs
	Queue   Queue
	Objects Objects
	// Operations are behind the /ops routes; required.
	Operations Operations
	// Admin is behind the /admin routes; required.
	Admin KeyAdmin
	// ProvedKeys spares look-ups by Keys; may be nil.
	ProvedKeys apikey.Proved
	// FreshKeys reads a key past every cache, for what is sent in its name; Keys if nil.
	FreshKeys apikey.LookupFunc
	// KeyUsed is told of each request that a key signed and may make; it must not wait.
	KeyUsed func(*apikey.Key)
	// Nonces makes signatures of version 2 one-use and tells duplicates of what operators and admins do;
	// without it version 2 is refused, and duplicates are taken.
	Nonces apikey.NonceFunc

	// Logger gets one line per request; none is written if nil.
	Logger *zap.Logger
	// TraceProject is the Google Cloud project that traces of requests are in; their log lines lead to none
	// if empty.
	TraceProject string
	// Tracer makes the spans of authenticated requests; none if nil.
	Tracer *tracing.Tracer
	// Panics is told of faults, which are answered by 500; one of the server's own if nil.
	Panics *panics.Reporter
	// Metrics is where the server's own metrics go; nowhere if nil. No route shows them: the API's port is
	// open to all.
	Metrics prometheus.Registerer
	// Checks are what /readyz asks.
	Checks []Check
	// Build is what /healthz says of the program.
	Build version.Build
	// Alive is what /healthz asks: an error says that only another process can help. May be nil.
	Alive func() error
	// CallbackRules judge callbackUrl, but for AllowedHosts, which come from the key.
	CallbackRules webhook.Rules

	// Sender sends test callbacks; one that reaches public hosts if nil.
	Sender *webhook.Sender

	// IPRate bounds the requests of one address (IPv6: one /64) before authentication, KeyRate those of one
	// key after it; the zero value is no limit. Each process counts for itself.
	IPRate, KeyRate Rate
	// RefuseEvery has refusals that depend on a key leave at multiples of it since the request came: a key
	// that is there takes a fifth longer to read than one that is not. 0 is at once.
	RefuseEvery time.Duration
	// TrustedProxies are the networks whose X-Forwarded-For is believed; none if empty.
	TrustedProxies []netip.Prefix
	// LoopbackOnly refuses requests for hosts that are not this machine, with 421: where the API listens on
	// loopback for its developer, only a web page would send one.
	LoopbackOnly bool
	// Datasets are what can be listed and exported; the built-in ones if nil.
	Datasets dataset.Set
	// Quotes answer dryRun; it is refused if nil.
	Quotes Quoter
	// Links makes csvUrl a link of the service's own; it is a signed URL of Cloud Storage if nil.
	Links *filelink.Links
	// Quotas are what one org may have going, for GET /limits; the store enforces them.
	Quotas jobs.Limits

	// PrivilegedV1 lets keys of operators and admins sign by version 1 too: whoever overhears such a request
	// can make another one with its headers for a minute.
	PrivilegedV1 bool

	// Now is time.Now if nil.
	Now func() time.Time
	// Window is apikey.DefaultWindow if zero.
	Window apikey.Window
	// DefaultWait is how long an export request waits for its job if it does not say; 10 s if 0, not at all
	// if negative.
	DefaultWait time.Duration
	// URLLife is how long a csvUrl works; 1 h if 0, at most 12 h, which is as long as the keys of Google's
	// signBlob are sure to live.
	URLLife time.Duration
	// MaxWaits bounds the requests that wait for a job at the same time, event streams too; beyond it waits
	// are answered at once. Of it an org alone gets half, a key three sevenths. At about 40 KiB each the
	// default of 4000 is 160 MiB.
	MaxWaits int
	// MaxConnections bounds the connections that Serve holds: of it an address alone gets three sevenths,
	// trusted proxies all; 5000 if 0.
	MaxConnections int
}

// Server answers the API. It is an http.Handler; Serve runs it on a listener.
type Server struct {
	datasets   dataset.Set
	encoders   map[*dataset.Dataset]*jsonrow.Pool                   // of listed rows
	contract   func() (*document, error)                            // once
	docs       func() (map[string]func() (*document, error), error) // once
	keys       apikey.LookupFunc
	freshKeys  apikey.LookupFunc
	records    Records
	jobs       Jobs
	queue      Queue
	objects    Objects
	operations Operations
	admin      KeyAdmin
	keyUsed    func(*apikey.Key)
	log        *zap.Logger
	rules      webhook.Rules

	now         func() time.Time
	verifier    apikey.Verifier
	defaultWait time.Duration
	urlLife     time.Duration

	traceProject string

	tracer    *tracing.Tracer
	metrics   *metrics
	panics    *panics.Reporter
	strangers *strangers
	readiness *readiness
	alive     func() error
	build     version.Build
	waits     *semaphore
	connected *semaphore // connections, by address
	opened    *buckets   // how fast an address opens them
	files     *files
	links     *filelink.Links // nil: signed URLs
	downloads *downloads
	byLink    *buckets // links that are followed, by address
	refused   *refusedOnce
	totals    *memo[int64]
	positions *memo[*vip.Position] // where pages begin, by offset
	overviews *memo[overviewAnswer]
	rollups   *memo[hourRollups]
	fleets    *memo[fleet] // one
	// overviewing are the overviews under way, skipping the pages that skip many rows.
	overviewing *semaphore
	skipping    *semaphore
	large       *semaphore // pages that hold more than ordinary rows come to
	largeWait   time.Duration
	sender      *webhook.Sender
	pings       *buckets         // by org
	pinging     *webhook.Limiter // test callbacks under way

	byIP, byKey *buckets
	refuseEvery time.Duration
	// held are the refusals to addresses that are held back, evened those of keys.
	held, evened atomic.Int64
	proxies      proxies
	loopback     bool
	quotas       jobs.Limits
	quotes       Quoter
	quoting      *semaphore

	draining context.Context // ends when the server begins to stop
	drain    context.CancelFunc
	engine   *gin.Engine
}

// New makes a Server. The error names everything that is missing or wrong.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.setDefaults()
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{
		datasets: c.Datasets, encoders: map[*dataset.Dataset]*jsonrow.Pool{},
		keys: c.Keys, freshKeys: c.FreshKeys, records: c.Records, jobs: c.Jobs, queue: c.Queue, objects: c.Objects, operations: c.Operations, admin: c.Admin, keyUsed: c.KeyUsed, log: c.Logger, rules: c.CallbackRules,
		now: c.Now, verifier: apikey.Verifier{Window: c.Window, Lookup: c.Keys, Proved: c.ProvedKeys, Nonces: c.Nonces, PrivilegedV1: c.PrivilegedV1}, defaultWait: max(0, c.DefaultWait), urlLife: c.URLLife,
		traceProject: c.TraceProject, tracer: c.Tracer, metrics: m, panics: c.Panics, strangers: newStrangers(), readiness: &readiness{checks: c.Checks}, alive: c.Alive, build: c.Build,
		waits: newSemaphore(c.MaxWaits), connected: newSemaphore(c.MaxConnections),
		sender: c.Sender, pinging: webhook.NewLimiter(pingPlaces),
		loopback: c.LoopbackOnly, quotas: c.Quotas, quotes: c.Quotes, quoting: newSemaphore(quotesAtOnce), refuseEvery: c.RefuseEvery,
		links: c.Links, downloads: newDownloads(c.Operations, c.Logger),
	}
	s.proxies.set(c.TrustedProxies)
	for _, d := range s.datasets {
		s.encoders[d] = jsonrow.NewPool(d)
	}
	s.docs = sync.OnceValues(s.docFiles)
	s.contract = sync.OnceValues(func() (*document, error) { return openapiJSON(s.datasets) })
	if s.files, err = newFiles(); err != nil {
		return nil, err
	}
	if s.totals, err = newMemo[int64](maxCounts, countSeen); err != nil {
		return nil, err
	}
	if s.positions, err = newHeavyMemo(positionBytes, positionSeen, positionWeight); err != nil {
		return nil, err
	}
	if s.overviews, err = newHeavyMemo(overviewBytes, overviewSeen, overviewAnswer.weight); err != nil {
		return nil, err
	}
	if s.rollups, err = newHeavyMemo(windowBytes, maxWindow, hourRollups.weight); err != nil {
		return nil, err
	}
	if s.fleets, err = newMemo[fleet](1, fleetSeen); err != nil {
		return nil, err
	}
	s.overviewing, s.skipping, s.large = newSemaphore(overviewsAtOnce), newSemaphore(farPagesAtOnce), newSemaphore(largePages)
	s.largeWait = largeWait
	for _, b := range []struct {
		to   **buckets
		rate Rate
	}{{&s.pings, pingRate}, {&s.byLink, linkRate}, {&s.byIP, c.IPRate}, {&s.byKey, c.KeyRate}} {
		if *b.to, err = newBuckets(b.rate); err != nil {
			return nil, err
		}
	}
	if s.refused, err = newRefusedOnce(); err != nil {
		return nil, err
	}
	if s.opened, err = newBuckets(s.openRate()); err != nil {
		return nil, err
	}
	if err := c.Metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "exportd_http_connections", Help: "Connections that are held.",
	}, func() float64 { return float64(s.connected.taken()) })); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.engine = s.install()
	return s, nil
}

func (c *Config) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"Keys": c.Keys == nil, "Records": c.Records == nil, "Jobs": c.Jobs == nil, "Queue": c.Queue == nil, "Objects": c.Objects == nil, "Operations": c.Operations == nil, "Admin": c.Admin == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("%s is required", name))
		}
	}
	if c.DefaultWait > maxWait {
		errs = append(errs, fmt.Errorf("DefaultWait of %s is over %s", c.DefaultWait, maxWait))
	}
	if c.URLLife < 0 || c.URLLife > 12*time.Hour {
		errs = append(errs, fmt.Errorf("URLLife of %s is not within 0 and 12 h", c.URLLife))
	}
	for name, r := range map[string]Rate{"IPRate": c.IPRate, "KeyRate": c.KeyRate} {
		if r.PerSecond < 0 || r.Burst < 0 {
			errs = append(errs, fmt.Errorf("%s of %+v is negative", name, r))
		}
	}
	for name, n := range map[string]int{"MaxWaits": c.MaxWaits, "MaxConnections": c.MaxConnections} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("%s of %d is negative", name, n))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("api config: %w", err)
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Datasets == nil {
		c.Datasets = dataset.BuiltIn
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Panics == nil {
		c.Panics = panics.NewReporter(c.Logger)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.FreshKeys == nil {
		c.FreshKeys = c.Keys
	}
	if c.Alive == nil {
		c.Alive = func() error { return nil }
	}
	if c.KeyUsed == nil {
		c.KeyUsed = func(*apikey.Key) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sender == nil {
		c.Sender = webhook.NewSender(webhook.SenderConfig{Guard: webhook.NewGuard(webhook.GuardConfig{Dev: c.CallbackRules.Dev}), Rules: c.CallbackRules, Now: c.Now})
	}
	if c.Window == (apikey.Window{}) {
		c.Window = apikey.DefaultWindow
	}
	if c.DefaultWait == 0 {
		c.DefaultWait = 10 * time.Second
	}
	if c.URLLife == 0 {
		c.URLLife = time.Hour
	}
	if c.MaxWaits == 0 {
		c.MaxWaits = 4000
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultConnections
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.engine.ServeHTTP(w, r) }

const (
	// stopWithin bounds a graceful stop. Waits and event streams end at once when it begins; what is left are
	// short requests.
	stopWithin = 10 * time.Second
	// sendWithin bounds sending one piece of an answer to a slow reader.
	sendWithin = 10 * time.Second
)

// Serve answers requests on l until ctx ends, then stops gracefully: no new connections, requests that wait
// for a job are answered with what is known, the others finish. It returns nil after such a stop. A Server
// serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	errorLog, err := zap.NewStdLogAt(s.log.Named("http"), zapcore.WarnLevel)
	if err != nil {
		return fmt.Errorf("make error log: %w", err)
	}
	bounded := s.connections(l)
	defer bounded.bars.end()
	h := s.httpServer(errorLog)
	h.ConnState, h.ConnContext = bounded.state, inContext
	noting, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the last request has ended
	var notes sync.WaitGroup
	defer notes.Wait()
	defer stop()
	notes.Go(func() { s.panics.Loop(noting, panics.Downloads, func() { s.downloads.run(noting) }) })
	failed := make(chan error, 1)
	go func() {
		err := panics.Do(func() error { return h.Serve(bounded) })
		s.panics.Tell(panics.Listener, err)
		failed <- err
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	s.drain()
	// The stop must outlive ctx, whose end began it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err = h.Shutdown(ctx)
	if err != nil {
		_ = h.Close() // what did not end in time is cut off
	}
	<-failed
	if err != nil {
		return fmt.Errorf("stop HTTP: %w", err)
	}
	return nil
}

// httpServer bounds what a client can hold by sending or reading slowly, or not at all.
func (s *Server) httpServer(errorLog *log.Logger) *http.Server {
	return &http.Server{
		Handler: s, ErrorLog: errorLog,
		MaxHeaderBytes:    maxHeadBytes,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      slow + sendWithin, // event streams set their own
		IdleTimeout:       2 * time.Minute,
	}
}
