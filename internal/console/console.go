package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"exportd/api/client"
	"exportd/internal/apikey"
	"exportd/internal/identity"
	"exportd/internal/panics"
)

// Config is what a Console needs.
type Config struct {
	// API is the handler of the API, and As has the requests of a context be an operator's, as its
	// WithOperator does; required, as are the three below.
	API http.Handler
	As  func(ctx context.Context, who func(ctx context.Context, fresh bool) (*apikey.Key, error)) context.Context
	// Keys finds keys, FreshKeys past every cache.
	Keys, FreshKeys apikey.LookupFunc
	// Sealer seals sessions: with the keyset of all processes they hold in each of them.
	Sealer *apikey.Sealer
	// Nonces makes links that sign in, and forms that do something, one-use; without it there are no such
	// links.
	Nonces apikey.NonceFunc
	// Sessions remembers which have ended before their time, for all processes; required.
	Sessions Sessions
	// Proxy verifies what Identity-Aware Proxy says of a request; nil: the header is worth nothing. Provider
	// signs people in; nil: nobody. Roles are who of both may what.
	Proxy    *identity.IAP
	Provider *identity.OIDC
	Roles    identity.Roles
	// URL is where people reach the console, for Provider, as "https://exports.example.com"; Contact whom
	// those ask who have no role.
	URL, Contact string
	// OwnLinks: csvUrl is a link of the service's own, so that who has followed it is on record.
	OwnLinks bool
	// LogsURL and TraceURL lead to the logs of a job and to the trace of its last run, with what it has for
	// {jobId}, {requestId} and {traceId}; no link if empty, or if it has no such thing.
	LogsURL, TraceURL string
	// LookEvery is how often what an open page shows is looked at; by default as often as it can be borne.
	LookEvery time.Duration
	// AliveEvery is how often a stream is written to that has nothing to tell, and asked of the database
	// whether its session goes on; 20 s by default.
	AliveEvery time.Duration
	// Panics is told of faults in what pages follow, which is looked at again; one of the console's own if
	// nil.
	Panics *panics.Reporter
	// Logger is told what pages could not be made; nobody is if nil.
	Logger *zap.Logger
	// Now is time.Now if nil.
	Now func() time.Time
}

// Sessions remembers which sessions have ended before their time.
type Sessions interface {
	// EndSession notes that one has ended; it is remembered until it would have by itself.
	EndSession(ctx context.Context, id string, until time.Time) error
	// SessionEnded reports whether one has.
	SessionEnded(ctx context.Context, id string) (bool, error)
	// WatchSession calls changed when one may have ended since: it was ended, in whatever process, or its key
	// is another one. It returns with ctx, or with why it cannot tell. changed may be called from several
	// goroutines.
	WatchSession(ctx context.Context, id, keyID string, changed func()) error
}

// Console answers what is asked under /console. Stop ends its streams.
type Console struct {
	api             *client.ClientWithResponses
	transport       http.RoundTripper
	as              func(ctx context.Context, who func(ctx context.Context, fresh bool) (*apikey.Key, error)) context.Context
	keys, freshKeys apikey.LookupFunc
	sealer          *apikey.Sealer
	nonces          apikey.NonceFunc
	sessions        Sessions
	proxy           *identity.IAP
	provider        *identity.OIDC
	roles           identity.Roles
	url, contact    string
	ownLinks        bool
	logsURL         string
	traceURL        string
	log             *zap.Logger
	lookEvery       time.Duration
	aliveEvery      time.Duration
	now             func() time.Time
	pages           pages
	assets          map[string]asset
	live            *live
	recent          recent
	handler         http.Handler
}

// New makes a Console.
func New(cfg Config) (*Console, error) {
	for name, missing := range map[string]bool{
		"API": cfg.API == nil, "As": cfg.As == nil, "Keys": cfg.Keys == nil, "FreshKeys": cfg.FreshKeys == nil, "Sealer": cfg.Sealer == nil,
		"Sessions": cfg.Sessions == nil,
	} {
		if missing {
			return nil, fmt.Errorf("console config: %s is required", name)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Panics == nil {
		cfg.Panics = panics.NewReporter(cfg.Logger)
	}
	c := &Console{
		transport: inProcess{cfg.API}, as: cfg.As, keys: cfg.Keys, freshKeys: cfg.FreshKeys, sealer: cfg.Sealer, nonces: cfg.Nonces,
		sessions: cfg.Sessions, proxy: cfg.Proxy, provider: cfg.Provider, roles: cfg.Roles, url: cfg.URL, contact: cfg.Contact,
		ownLinks: cfg.OwnLinks, logsURL: cfg.LogsURL, traceURL: cfg.TraceURL, lookEvery: cfg.LookEvery, aliveEvery: cmp.Or(cfg.AliveEvery, aliveEvery), log: cfg.Logger, now: cfg.Now, live: newLive(cfg.Panics),
	}
	var err error
	if c.api, err = client.Unsigned(c.transport); err != nil {
		return nil, err
	}
	if c.pages, err = parsePages(); err != nil {
		return nil, err
	}
	if c.assets, err = readAssets(); err != nil {
		return nil, err
	}
	c.handler = c.routes()
	return c, nil
}

// Stop ends what streams there are: whoever looks connects again. Wait waits until nothing is read for one
// any more.
func (c *Console) Stop() { c.live.stop() }

// Wait is for after the servers have ended.
func (c *Console) Wait() { c.live.looking.Wait() }

// ServeHTTP answers one request.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// view is a page that was read: which template shows it, and what.
type view struct {
	name, title string
	data        any
	// live has the page told what changes; how often it is looked is every.
	live  bool
	every time.Duration
}

// maxForm bounds the body of a form: a reason, and some fields.
const maxForm = 64 << 10

func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /console/assets/{file}", c.asset)
	mux.HandleFunc("GET /console/sign-in", c.signInPage)
	mux.HandleFunc("POST /console/sign-in", c.signIn)
	mux.HandleFunc("POST /console/sign-out", c.acting(c.signOut))
	mux.HandleFunc("GET /console/signed-out", c.signedOutPage)
	if c.provider != nil {
		mux.HandleFunc("GET /console/sign-in/oidc", c.toProvider)
		mux.HandleFunc("GET /console/sign-in/oidc/callback", c.fromProvider)
	}
	for pattern, load := range c.loaders() {
		mux.HandleFunc("GET "+pattern, c.showing(load))
	}
	mux.HandleFunc("GET /console/jobs/{id}/csv", c.download)
	mux.HandleFunc("GET /console/live", c.stream)
	mux.HandleFunc("POST /console/act", c.acting(c.act))
	mux.HandleFunc("POST /console/keys", c.acting(c.makeKey))
	mux.HandleFunc("POST /console/keys/{id}/rotate", c.acting(c.rotateKey))
	mux.HandleFunc("POST /console/keys/{id}/budget", c.acting(c.setBudget))
	mux.HandleFunc("POST /console/keys/{id}/revoke", c.acting(c.revokeKey))
	mux.HandleFunc("/console/", func(w http.ResponseWriter, r *http.Request) { c.notFound(w, r) })
	// What another site has a browser send is refused by what the browser says of where it comes from,
	// besides the token of each form and SameSite.
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.render(w, r, nil, http.StatusForbidden, "error", "Refused", errorPage{Message: "This was sent by a page of another site. Nothing was done."})
	}))
	guarded := crossOrigin.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		guarded.ServeHTTP(w, r)
	})
}

// headers are on every answer. Scripts, styles and pictures are those in assets alone, and none stands in a
// page.
var headers = map[string]string{
	"Cache-Control": "no-store",
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
		"frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types console",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
	"Referrer-Policy":              "no-referrer",
	"Strict-Transport-Security":    "max-age=63072000",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

// loader reads what a page shows.
type loader func(ctx context.Context, who *principal, r *http.Request) (view, error)

// loaders are the pages there are, each live one also as a stream of itself.
func (c *Console) loaders() map[string]loader {
	return map[string]loader{
		"/console":              c.overview,
		"/console/jobs":         c.jobs,
		"/console/jobs/{id}":    c.job,
		"/console/act":          c.confirm,
		"/console/keys":         c.keysPage,
		"/console/keys/new":     c.newKey,
		"/console/keys/{id}":    c.keyPage,
		"/console/causes":       c.causes,
		"/console/causes/{id}":  c.cause,
		"/console/batches":      c.batches,
		"/console/batches/{id}": c.batch,
		"/console/callbacks":    c.callbacks,
		"/console/audit":        c.audit,
	}
}

// showing answers a page to who is signed in.
func (c *Console) showing(load loader) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := c.signedIn(r)
		if err != nil {
			c.turnAway(w, r, err)
			return
		}
		v, err := load(c.asking(r, who), who, r)
		if err != nil {
			c.fail(w, r, who, err)
			return
		}
		c.renderView(w, r, who, http.StatusOK, v)
	}
}

// asking is the context of what a page asks of the API.
func (c *Console) asking(r *http.Request, who *principal) context.Context {
	return c.inTheNameOf(context.WithValue(r.Context(), asked{}, r), who)
}

// acting answers a form of who is signed in, if it has the token of their session.
func (c *Console) acting(do func(http.ResponseWriter, *http.Request, *principal) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := c.signedIn(r)
		if err != nil {
			c.turnAway(w, r, err)
			return
		}
		if !c.ownForm(who, r.PostFormValue("csrf")) {
			c.render(w, r, who, http.StatusForbidden, "error", "Refused", errorPage{Message: "The form is not one of this session. Nothing was done: open the page again."})
			return
		}
		if err := do(w, r, who); err != nil {
			c.fail(w, r, who, err)
		}
	}
}

// turnAway leads who is not signed in to where one signs in.
func (c *Console) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	if why, ok := errors.AsType[*notAdmitted](err); ok {
		c.refuse(w, r, why)
		return
	}
	if !errors.Is(err, errOut) {
		c.fail(w, r, nil, err)
		return
	}
	if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		// Whoever follows a link from elsewhere comes without the cookie, which is SameSite=Strict; what a
		// page of the console leads to, even the same one, has it.
		c.openAgain(w, r, next(r.URL.RequestURI()))
		return
	}
	if _, cookieErr := r.Cookie(cookieName(r)); cookieErr == nil {
		setCookie(w, r, "", 0)
	}
	to := home
	if r.Method == http.MethodGet {
		to = next(r.URL.RequestURI())
	}
	http.Redirect(w, r, home+"/sign-in?"+url.Values{"next": {to}}.Encode(), http.StatusSeeOther)
}

// openAgain has a page of the console lead to another, or to itself.
func (c *Console) openAgain(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Refresh", "0; url="+to)
	c.render(w, r, nil, http.StatusOK, "moment", "One moment", errorPage{Again: to})
}

// errorPage says what went wrong.
type errorPage struct {
	Message   string
	Faults    []client.Fault
	RequestID string
	Again     string // where the same may be tried again
}

func (c *Console) notFound(w http.ResponseWriter, r *http.Request) {
	who, err := c.signedIn(r)
	if err != nil {
		c.turnAway(w, r, err)
		return
	}
	c.render(w, r, who, http.StatusNotFound, "error", "Not found", errorPage{Message: "There is no such page."})
}

// fail shows what the API says of a request that it did not do.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, who *principal, err error) {
	var refused *client.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		c.turnAway(w, r, errOut)
	case errors.As(err, &refused):
		p := errorPage{Message: sentence(refused.Message), Faults: refused.Faults, RequestID: refused.RequestID}
		title := map[int]string{http.StatusNotFound: "Not found", http.StatusForbidden: "Not allowed", http.StatusUnprocessableEntity: "Not understood", http.StatusConflict: "Not possible"}[refused.Status]
		if title == "" {
			title = "Not done"
		}
		if r.Method == http.MethodGet && passing(refused) {
			p.Again = r.URL.RequestURI()
		}
		c.render(w, r, who, refused.Status, "error", title, p)
	default:
		c.log.Error("console page", zap.String("path", strings.TrimSuffix(r.Pattern, "{id}")), zap.Error(err))
		c.render(w, r, who, http.StatusServiceUnavailable, "error", "Not done", errorPage{Message: "Temporarily unavailable, try again.", Again: next(r.URL.RequestURI())})
	}
}

// sentence makes a message of the API one.
func sentence(message string) string {
	if message == "" {
		return ""
	}
	message = strings.ToUpper(message[:1]) + message[1:]
	if strings.HasSuffix(message, ".") {
		return message
	}
	return message + "."
}
