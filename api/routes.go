package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/filelink"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// endpoint answers a request, or returns an error that becomes the answer.
type endpoint func(c *gin.Context, caller *apikey.Key) error

// route is a row of the table of routes.
type route struct {
	method, path string
	// scopes: the key needs one of them. None: open to all, and caller is nil.
	scopes []apikey.Scope
	// timeout bounds the whole request, waits included; 0 leaves it to the endpoint.
	timeout time.Duration
	do      endpoint
}

var (
	mayRead    = []apikey.Scope{apikey.ScopeRead}
	mayExport  = []apikey.Scope{apikey.ScopeExport}
	mayOperate = []apikey.Scope{apikey.ScopeOps}
	mayAdmin   = []apikey.Scope{apikey.ScopePlatform, apikey.ScopeAdmin}
	// mayLook: of operators those too who may only look, as GET changes nothing.
	mayLook = []apikey.Scope{apikey.ScopeView, apikey.ScopeOps}
	// maySee: who may start an export may see what became of it.
	maySee = []apikey.Scope{apikey.ScopeRead, apikey.ScopeExport}
	// anyScope: every key may ask about itself.
	anyScope = apikey.AllScopes
)

const (
	// quick bounds requests that read a few documents.
	quick = 10 * time.Second
	// CommitWithin is what a commit of the job store may take, so that whoever asks for something to be
	// written hears within quick that it was not: then they are told to try again.
	CommitWithin = quick - 2*time.Second
	// slow bounds requests that read many, and those that wait.
	slow = maxWait + 10*time.Second
)

// routes is every route there is.
func (s *Server) routes() []route {
	routes := s.fixedRoutes()
	for _, d := range s.datasets {
		routes = append(routes, route{http.MethodGet, "/" + d.Name, mayRead, quick, s.list(d)},
			route{http.MethodGet, "/" + d.Name + "/export", mayExport, slow, s.export(d)})
	}
	return routes
}

// fixedRoutes are those that are there whatever the datasets are.
func (s *Server) fixedRoutes() []route {
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	return []route{
		{get, "/healthz", nil, quick, s.health},
		{get, "/readyz", nil, quick, s.ready},
		{get, "/openapi.json", nil, quick, s.openapi},
		{get, "/", nil, quick, redirect("/docs")},
		{get, "/docs", nil, quick, s.docsPage},
		{get, "/docs/", nil, quick, redirect("/docs")},
		{get, "/docs/:file", nil, quick, s.docsFile},

		{get, filelink.Path + ":token", nil, quick, s.follow},
		{http.MethodHead, filelink.Path + ":token", nil, quick, s.follow},
		{get, "/limits", anyScope, quick, s.limits},
		{get, "/workspaces", mayRead, quick, s.listWorkspaces},
		{get, "/channels", mayRead, quick, s.listChannels},
		{get, "/vip-labels/overview", mayRead, slow, s.overview},

		{get, "/exports", maySee, quick, s.listJobs},
		{get, "/exports/:jobId", maySee, slow, s.getJob},
		{get, "/exports/:jobId/csv", maySee, quick, s.download},
		{get, "/exports/:jobId/manifest", maySee, quick, s.manifest},
		{get, "/exports/:jobId/events", maySee, 0, s.stream},
		{post, "/exports/:jobId/cancel", mayExport, quick, s.cancel},
		{del, "/exports/:jobId", mayExport, slow, s.deleteJob},
		{post, "/exports/:jobId/callback/test", mayExport, slow, s.ping},

		{get, "/ops/jobs", mayLook, quick, s.opsList},
		{get, "/ops/jobs/:jobId", mayLook, quick, s.opsGet},
		{post, "/ops/jobs/:jobId/rerun", mayOperate, quick, s.opsRerun},
		{post, "/ops/jobs/:jobId/cancel", mayOperate, quick, s.opsCancel},
		{post, "/ops/jobs/:jobId/callback/redeliver", mayOperate, quick, s.opsRedeliver},
		{post, "/ops/jobs/rerun", mayOperate, slow, s.opsRerunAll},
		{post, "/ops/callbacks/redeliver", mayOperate, slow, s.opsRedeliverAll},
		{get, "/ops/receivers", mayLook, quick, s.opsReceivers},
		{get, "/ops/receivers/history", mayLook, quick, s.opsReceiverHistory},
		{post, "/ops/receivers/resume", mayOperate, slow, s.opsResumeReceiver},
		{post, "/ops/links/revoke", mayOperate, quick, s.opsRevokeOrgLinks},
		{post, "/ops/jobs/:jobId/links/revoke", mayOperate, quick, s.opsRevokeJobLinks},
		{get, "/ops/jobs/:jobId/downloads", mayLook, quick, s.opsDownloads},
		{get, "/ops/batches", mayLook, quick, s.opsBatches},
		{get, "/ops/batches/:batchId", mayLook, quick, s.opsBatch},
		{post, "/ops/batches/:batchId/pause", mayOperate, quick, s.opsChangeBatch(jobs.AuditPauseBatch)},
		{post, "/ops/batches/:batchId/resume", mayOperate, quick, s.opsChangeBatch(jobs.AuditResumeBatch)},
		{post, "/ops/batches/:batchId/cancel", mayOperate, quick, s.opsChangeBatch(jobs.AuditCancelBatch)},
		{get, "/ops/causes", mayLook, quick, s.opsCauses},
		{get, "/ops/causes/:causeId", mayLook, quick, s.opsCause},
		{post, "/ops/causes/:causeId/rerun", mayOperate, slow, s.opsRerunCause},
		{post, "/ops/causes/:causeId/probe", mayOperate, slow, s.opsProbeCause},
		{get, "/ops/callbacks", mayLook, quick, s.opsCallbacks},
		{get, "/ops/audit", mayLook, quick, s.opsAudit},
		{get, "/ops/stats", mayLook, quick, s.opsStats},
		{post, "/ops/queues/:queue/pause", mayOperate, quick, s.opsPause(true)},
		{post, "/ops/queues/:queue/resume", mayOperate, quick, s.opsPause(false)},

		{get, "/admin/keys", mayAdmin, quick, s.listKeys},
		{post, "/admin/keys", mayAdmin, quick, s.createKey},
		{get, "/admin/keys/:keyId", mayAdmin, quick, s.getKey},
		{post, "/admin/keys/:keyId/rotate", mayAdmin, quick, s.rotateKey},
		{post, "/admin/keys/:keyId/budget", mayAdmin, quick, s.setKeyBudget},
		{post, "/admin/keys/:keyId/revoke", mayAdmin, quick, s.revokeKey},
	}
}

// install puts the routes into a new Gin engine.
func (s *Server) install() *gin.Engine {
	gin.SetMode(gin.ReleaseMode) // debug mode prints to standard output
	e := gin.New()
	e.HandleMethodNotAllowed = true // and HEAD is not GET: a HEAD must never start a job
	e.RedirectTrailingSlash = false
	e.Use(s.watch, s.throttleIP, s.atHome, limit)
	e.NoRoute(func(c *gin.Context) { writeError(c, refuse(http.StatusNotFound, "no such route")) })
	e.NoMethod(func(c *gin.Context) {
		writeError(c, refuse(http.StatusMethodNotAllowed, "method not allowed here, see the Allow header"))
	})
	for _, r := range s.routes() {
		e.Handle(r.method, r.path, s.handle(r))
	}
	return e
}

// handle authenticates and runs an endpoint.
func (s *Server) handle(r route) gin.HandlerFunc {
	return func(c *gin.Context) {
		arrived := s.now()
		if r.timeout > 0 {
			ctx, cancel := context.WithTimeout(c.Request.Context(), r.timeout)
			defer cancel() // after the error is written, which asks whether the caller has hung up
			c.Request = c.Request.WithContext(ctx)
		}
		if err := s.serve(c, r, arrived); err != nil {
			writeError(c, err)
		}
	}
}

// begin bounds what is read and written for a request before it waits for something, on whatever route: while
// Firestore is away, Google's client tries until it is told to stop.
func begin(c *gin.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.Request.Context(), quick)
}

func (s *Server) serve(c *gin.Context, r route, arrived time.Time) error {
	if r.scopes == nil {
		return r.do(c, nil)
	}
	body, err := bodyOf(c.Request)
	if err != nil {
		return err
	}
	head, cancel := begin(c)
	defer cancel()
	a := &admission{request: apikey.RequestOf(c.Request, body), operator: operatorOf(head), scopes: r.scopes, client: observe(c).client, arrived: arrived}
	begun := time.Now()
	caller, err := s.identify(head, a)
	if err != nil {
		s.evenOutTiming(head, begun, err)
		return err
	}
	o := observe(c)
	o.orgID, o.keyID = caller.OrgID, caller.ID
	a.orgID = caller.OrgID
	isKnown(c.Request)
	// Before this, what the caller says of a trace is not believed; watch ends the span.
	if traced, span := s.tracer.Request(c.Request.Context(), c.Request.Header, arrived, r.method, r.path, tracing.Org(caller.OrgID)); span != nil {
		c.Request = c.Request.WithContext(traced)
	}
	c.Set(admissionKey, a)
	if err := a.address(caller); err != nil {
		return err
	}
	if caller.Person == "" { // a person has no record
		s.keyUsed(caller)
	}
	if err := s.throttleKey(c, caller); err != nil {
		return err
	}
	if err := a.scope(caller); err != nil {
		return err
	}
	if r.once() {
		if err := s.takeOnce(head, c.Request, caller, body); err != nil {
			return err
		}
	}
	return r.do(c, caller)
}
