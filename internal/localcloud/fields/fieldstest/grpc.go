package fieldstest

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"exportd/internal/localcloud/fields"
)

// GRPC makes calls of services, by the names of their methods; of those that stream, what is answered is a
// list.
type GRPC struct {
	Conn     *grpc.ClientConn
	Services []protoreflect.ServiceDescriptor
	Table    fields.Table
}

// Honoured are the fields of a table that a server honours.
func Honoured(t fields.Table) (out []string) {
	for name, use := range t {
		if use == fields.Honoured || use == fields.Whole {
			out = append(out, string(name))
		}
	}
	slices.Sort(out)
	return out
}

// method returns nil if there is none.
func (g *GRPC) method(name string) protoreflect.MethodDescriptor {
	for _, s := range g.Services {
		if m := s.Methods().ByName(protoreflect.Name(name)); m != nil {
			return m
		}
	}
	return nil
}

// Places implements API.
func (g *GRPC) Places(c Call) (out []Place) {
	if m := g.method(c.Method); m != nil {
		return g.places(m.Input(), c.Request, nil)
	}
	return nil
}

func (g *GRPC) places(m protoreflect.MessageDescriptor, v any, path []any) (out []Place) {
	members, _ := v.(map[string]any)
	for name, inner := range members {
		f := m.Fields().ByJSONName(name)
		if f == nil {
			continue
		}
		at := append(slices.Clone(path), name)
		out = append(out, Place{string(f.FullName()), at})
		if g.Table[f.FullName()] != fields.Honoured || f.Message() == nil || f.IsMap() {
			continue
		}
		if list, ok := inner.([]any); ok {
			for i, e := range list {
				out = append(out, g.places(f.Message(), e, append(slices.Clone(at), i))...)
			}
			continue
		}
		out = append(out, g.places(f.Message(), inner, at)...)
	}
	return out
}

// Do implements API.
func (g *GRPC) Do(tb testing.TB, c Call) any {
	tb.Helper()
	m := g.method(c.Method)
	if m == nil {
		tb.Fatalf("there is no method %s", c.Method)
	}
	in := newMessage(tb, m.Input())
	raw, err := json.Marshal(c.Request)
	if err != nil {
		tb.Fatal(err)
	}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(raw, in); err != nil {
		return map[string]any{"request": "cannot be read"} // what it takes from an answer is not there
	}
	full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	answers, err := g.call(tb, full, m, in)
	if err != nil {
		return map[string]any{"code": status.Code(err).String(), "message": status.Convert(err).Message(), "answers": answers}
	}
	if !m.IsStreamingServer() {
		return answers[0]
	}
	return answers
}

func (g *GRPC) call(tb testing.TB, full string, m protoreflect.MethodDescriptor, in proto.Message) (answers []any, err error) {
	tb.Helper()
	s, err := g.Conn.NewStream(tb.Context(), &grpc.StreamDesc{ServerStreams: m.IsStreamingServer()}, full)
	if err == nil {
		err = errors.Join(s.SendMsg(in), s.CloseSend())
	}
	for err == nil {
		out := newMessage(tb, m.Output())
		if err = s.RecvMsg(out); err == nil {
			answers = append(answers, plain(tb, out))
			if !m.IsStreamingServer() {
				return answers, nil
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return answers, err
}

func newMessage(tb testing.TB, d protoreflect.MessageDescriptor) proto.Message {
	tb.Helper()
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		tb.Fatal(err)
	}
	return t.New().Interface()
}

func plain(tb testing.TB, m proto.Message) (v any) {
	tb.Helper()
	raw, err := protojson.Marshal(m)
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return v
}
