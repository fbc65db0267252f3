// Package rest answers HTTP with JSON by calls of gRPC, as Google's front end does: which path is which
// method is in the google.api.http annotations of the services' own descriptors, so whatever a server has
// over gRPC it has here too.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// maxBody bounds a request: 10 MiB, the limit of both services, in base64 and with JSON's quotes.
const maxBody = 32 << 20

// Handler is the REST form of services.
type Handler struct {
	conn   grpc.ClientConnInterface
	fits   func(protoreflect.MethodDescriptor, string) bool
	routes []route
}

type route struct {
	verb   string
	path   *template
	body   string // "*", the field that the body is, or "" for none
	method protoreflect.MethodDescriptor
}

// New serves the services by calls over conn. Where the annotations let two methods have one path, fits says
// of a method and the first variable of its path whether it is meant; nil says yes.
func New(conn grpc.ClientConnInterface, fits func(protoreflect.MethodDescriptor, string) bool, services ...protoreflect.ServiceDescriptor) (*Handler, error) {
	h := &Handler{conn: conn, fits: fits}
	for _, s := range services {
		for i := range s.Methods().Len() {
			if err := h.add(s.Methods().Get(i)); err != nil {
				return nil, err
			}
		}
	}
	return h, nil
}

func (h *Handler) add(m protoreflect.MethodDescriptor) error {
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || m.IsStreamingClient() {
		return nil
	}
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		verb, path := "", ""
		switch p := r.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			verb, path = http.MethodGet, p.Get
		case *annotations.HttpRule_Post:
			verb, path = http.MethodPost, p.Post
		case *annotations.HttpRule_Put:
			verb, path = http.MethodPut, p.Put
		case *annotations.HttpRule_Patch:
			verb, path = http.MethodPatch, p.Patch
		case *annotations.HttpRule_Delete:
			verb, path = http.MethodDelete, p.Delete
		default:
			continue
		}
		t, err := parseTemplate(path)
		if err != nil {
			return fmt.Errorf("%s: %w", m.FullName(), err)
		}
		h.routes = append(h.routes, route{verb, t, r.GetBody(), m})
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, route := range h.routes {
		if route.verb != r.Method {
			continue
		}
		values, ok := route.path.match(r.URL.EscapedPath())
		if ok && len(values) > 0 && h.fits != nil {
			ok = h.fits(route.method, values[0])
		}
		if ok {
			h.serve(w, r, route, values)
			return
		}
	}
	Fail(w, status.Errorf(codes.NotFound, "there is no method at %s %s", r.Method, r.URL.Path))
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, route route, values []string) {
	in, err := newMessage(route.method.Input())
	if err != nil {
		Fail(w, err)
		return
	}
	if err := fill(in.ProtoReflect(), w, r, route, values); err != nil {
		Fail(w, status.Errorf(codes.InvalidArgument, "%v", err))
		return
	}
	name := "/" + string(route.method.Parent().FullName()) + "/" + string(route.method.Name())
	if route.method.IsStreamingServer() {
		h.stream(w, r, route, name, in)
		return
	}
	out, err := newMessage(route.method.Output())
	if err == nil {
		err = h.conn.Invoke(r.Context(), name, in, out)
	}
	if err != nil {
		Fail(w, err)
		return
	}
	raw, err := protojson.Marshal(out)
	if err != nil {
		Fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_, _ = w.Write(raw) // the client is gone if this fails
}

// stream answers with a JSON array, an element as soon as it is there. An error after the first is an element
// of its own, as in production.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, route route, name string, in proto.Message) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s, err := h.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err == nil {
		err = errors.Join(s.SendMsg(in), s.CloseSend())
	}
	flush := http.NewResponseController(w)
	n := 0
	for ; err == nil; n++ {
		var raw []byte
		if raw, err = next(s, route); err != nil {
			break
		}
		if n == 0 {
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		}
		_, _ = w.Write(append([]byte(map[bool]string{true: "[", false: ",\n"}[n == 0]), raw...)) // the client is gone if this fails
		_ = flush.Flush()                                                                        // likewise
	}
	switch ended := errors.Is(err, io.EOF); {
	case n == 0 && ended:
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		_, _ = w.Write([]byte("[]\n"))
	case n == 0:
		Fail(w, err)
	case ended:
		_, _ = w.Write([]byte("]\n"))
	default:
		_, _ = w.Write(append(append([]byte(",\n"), errorBody(err)...), "]\n"...))
	}
}

// next is the next message of a stream as JSON.
func next(s grpc.ClientStream, route route) ([]byte, error) {
	out, err := newMessage(route.method.Output())
	if err != nil {
		return nil, err
	}
	if err := s.RecvMsg(out); err != nil {
		return nil, err
	}
	return protojson.Marshal(out)
}

func newMessage(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, fmt.Errorf("message of %s: %w", d.FullName(), err)
	}
	return t.New().Interface(), nil
}

// fill sets the request's fields from path, body and query.
func fill(m protoreflect.Message, w http.ResponseWriter, r *http.Request, route route, values []string) error {
	if route.body != "" {
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return errors.New("the body ends early or is too large")
		}
		target := m
		if route.body != "*" {
			target = m.Mutable(m.Descriptor().Fields().ByName(protoreflect.Name(route.body))).Message()
		}
		if len(raw) > 0 {
			if err := protojson.Unmarshal(raw, target.Interface()); err != nil {
				return fmt.Errorf("invalid JSON payload: %w", err)
			}
		}
	}
	for name, list := range r.URL.Query() {
		if strings.HasPrefix(name, "$") || name == "alt" || name == "key" || name == "prettyPrint" {
			continue // of Google's front end; the answer is the same JSON
		}
		if err := set(m, name, list); err != nil {
			return err
		}
	}
	for i, name := range route.path.vars {
		v, err := url.PathUnescape(values[i])
		if err != nil {
			return errors.New("the path is not well escaped")
		}
		if err := set(m, name, []string{v}); err != nil {
			return err
		}
	}
	return nil
}

// set sets a field, named by its path in either spelling, as JSON would.
func set(m protoreflect.Message, path string, values []string) error {
	name, rest, deeper := strings.Cut(path, ".")
	f := m.Descriptor().Fields().ByJSONName(name)
	if f == nil {
		f = m.Descriptor().Fields().ByName(protoreflect.Name(name))
	}
	if f == nil {
		return fmt.Errorf("unknown name %q: cannot find field", path)
	}
	if deeper {
		if f.Message() == nil || f.IsList() || f.IsMap() {
			return fmt.Errorf("invalid path %q", path)
		}
		return set(m.Mutable(f).Message(), rest, values)
	}
	var v any = values[len(values)-1]
	if f.IsList() {
		v = values
	} else if f.Kind() == protoreflect.BoolKind {
		v = values[len(values)-1] == "true"
	}
	raw, err := json.Marshal(map[string]any{f.JSONName(): v})
	if err != nil {
		return err
	}
	one := m.New()
	if err := protojson.Unmarshal(raw, one.Interface()); err != nil {
		return fmt.Errorf("invalid value of %s", path)
	}
	proto.Merge(m.Interface(), one.Interface())
	return nil
}

// Fail answers with an error of gRPC as JSON.
func Fail(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(httpStatus(status.Code(err)))
	_, _ = w.Write(append(errorBody(err), '\n')) // the client is gone if this fails
}

func errorBody(err error) []byte {
	s := status.Convert(err)
	raw, err := json.Marshal(map[string]any{"error": map[string]any{"code": httpStatus(s.Code()), "message": s.Message(), "status": codeName(s.Code())}})
	if err != nil {
		return []byte("{}") // strings and ints do not fail to marshal
	}
	return raw
}
