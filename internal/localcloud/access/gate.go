package access

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"go.uber.org/zap"
)

// Gate stands before the services and knows callers by the address they called. Who calls at an address that
// is no account's may do everything. Safe for concurrent use.
type Gate struct {
	log      *zap.Logger
	accounts sync.Map // address of a listener (string) -> *Account
}

// NewGate returns a gate without accounts, which lets everything pass.
func NewGate(log *zap.Logger) *Gate { return &Gate{log: log} }

// Bind makes calls at addr those of a.
func (g *Gate) Bind(addr net.Addr, a *Account) { g.accounts.Store(addr.String(), a) }

func (g *Gate) at(addr net.Addr) *Account {
	if addr == nil {
		return nil
	}
	a, ok := g.accounts.Load(addr.String())
	if !ok {
		return nil
	}
	return a.(*Account)
}

func (g *Gate) caller(ctx context.Context) *Account {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	return g.at(p.LocalAddr)
}

// Permitted says whether the caller of a gRPC method has a permission.
func (g *Gate) Permitted(ctx context.Context, permission string) bool {
	a := g.caller(ctx)
	return a == nil || a.has(permission)
}

// PermittedHTTP is Permitted of a request to the Cloud Storage server.
func (g *Gate) PermittedHTTP(r *http.Request, permission string) bool {
	a := g.sender(r)
	return a == nil || a.has(permission)
}

func (g *Gate) sender(r *http.Request) *Account {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return g.at(addr)
}

// Unary returns the interceptor for unary calls.
func (g *Gate) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if err := g.check(ctx, info.FullMethod, req); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// Stream returns the interceptor for streaming calls.
func (g *Gate) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if info.IsClientStream && byRequest(info.FullMethod) {
			return next(srv, &stream{ss, g, info.FullMethod})
		}
		if err := g.check(ss.Context(), info.FullMethod, nil); err != nil {
			return err
		}
		return next(srv, ss)
	}
}

// stream looks at each request that it brings. Firebase's clients take what refuses a request of a stream
// that is open for the answer to their write, and try again without end where the stream itself is refused.
type stream struct {
	grpc.ServerStream
	gate   *Gate
	method string
}

func (s *stream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.gate.check(s.Context(), s.method, m)
}

func (g *Gate) check(ctx context.Context, fullMethod string, req any) error {
	a := g.caller(ctx)
	if a == nil {
		return nil
	}
	method := shortName(fullMethod)
	needed, ok := ofRequest(method, req)
	missing := g.decide(a, method, needed, ok)
	if missing == "" {
		return nil
	}
	text := "Missing or insufficient permissions." // Firestore's words
	if strings.HasPrefix(fullMethod, "/google.pubsub.") {
		text = "User not authorized to perform this action."
	}
	s := status.New(codes.PermissionDenied, text)
	if with, err := s.WithDetails(&errdetails.ErrorInfo{
		Reason: "IAM_PERMISSION_DENIED", Domain: "iam.googleapis.com", Metadata: map[string]string{"permission": missing},
	}); err == nil {
		s = with
	}
	return s.Err()
}

// shortName is a gRPC method as the table has it, without the package.
func shortName(fullMethod string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "/" + method
}

// unknownMethod stands for the permission that a method which is not in the table lacks.
const unknownMethod = "(unknown method)"

// decide counts, logs a refusal, and returns the permission that is missing, "" when the call may pass.
func (g *Gate) decide(a *Account, method string, needed []string, known bool) (missing string) {
	if !known {
		a.refuseUnknown(method)
		missing = unknownMethod
	} else {
		missing = a.allow(method, needed)
	}
	if missing != "" {
		g.log.Warn("call refused", zap.String("account", a.Name), zap.String("method", method), zap.String("permission", missing))
	}
	return missing
}

// HTTP wraps the Cloud Storage server.
func (g *Gate) HTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := g.sender(r)
		if a == nil {
			next.ServeHTTP(w, r)
			return
		}
		method, needed, ok := ofHTTP(r)
		if missing := g.decide(a, method, needed, ok); missing != "" {
			refuse(w, a.Name, method, missing)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse answers as the API in question does: the JSON API and IAM Credentials in JSON, signed URLs and
// multipart uploads in XML.
func refuse(w http.ResponseWriter, account, method, missing string) {
	text := fmt.Sprintf("%s does not have %s access to the Google Cloud Storage resource. Permission '%s' denied on resource (or it may not exist).", account, missing, missing)
	if method == signedGet || strings.HasPrefix(method, multipartUploads) {
		w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>Access denied.</Message><Details>%s</Details></Error>", text)
		return
	}
	type item struct {
		Message string `json:"message"`
		Domain  string `json:"domain"`
		Reason  string `json:"reason"`
	}
	body := map[string]any{"error": map[string]any{"code": http.StatusForbidden, "message": text, "errors": []item{{text, "global", "forbidden"}}}}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}
