package pubsubserver

import (
	"context"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"exportd/internal/localcloud/fields"
)

// TestEveryField: each field of each request is decided about, and a method that is not served says so.
func TestEveryField(t *testing.T) {
	t.Parallel()
	services := pubsubpb.File_google_pubsub_v1_pubsub_proto.Services()
	for _, service := range []protoreflect.ServiceDescriptor{services.ByName("Publisher"), services.ByName("Subscriber"), pubsubpb.File_google_pubsub_v1_schema_proto.Services().Get(0)} {
		if list := served.Undecided(service, unserved); len(list) > 0 {
			t.Errorf("%s: nothing is said of %v", service.FullName(), list)
		}
	}
}

// TestRefusedFields sets each field that is refused, and one that nobody knows.
func TestRefusedFields(t *testing.T) {
	t.Parallel()
	conn := dial(t, start(t, Options{}).addr)
	send := func(method string, m proto.Message) error {
		return conn.Invoke(context.WithoutCancel(t.Context()), method, m, &pubsubpb.Topic{})
	}
	n := 0
	for _, c := range []struct {
		method string
		make   func() proto.Message
	}{
		{"/google.pubsub.v1.Publisher/CreateTopic", func() proto.Message { return &pubsubpb.Topic{Name: testTopic} }},
		{"/google.pubsub.v1.Subscriber/CreateSubscription", func() proto.Message { return &pubsubpb.Subscription{Name: testSub, Topic: testTopic} }},
	} {
		all := c.make().ProtoReflect().Descriptor().Fields()
		for i := range all.Len() {
			f := all.Get(i)
			if served[f.FullName()] != fields.Refused {
				continue
			}
			n++
			m := c.make()
			set(m.ProtoReflect(), f)
			if err := send(c.method, m); status.Code(err) != codes.Unimplemented {
				t.Errorf("%s: %v, want UNIMPLEMENTED", f.FullName(), err)
			}
		}
		m := c.make()
		m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
		if err := send(c.method, m); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s with a field of the future: %v, want UNIMPLEMENTED", c.method, err)
		}
	}
	if n < 10 {
		t.Errorf("%d fields are refused, which are too few", n)
	}
	for _, method := range unserved {
		for _, service := range []string{"Publisher", "Subscriber", "SchemaService"} {
			if err := send("/google.pubsub.v1."+service+"/"+method, &pubsubpb.Topic{}); status.Code(err) != codes.Unimplemented {
				t.Errorf("%s: %v, want UNIMPLEMENTED", method, err)
			}
		}
	}
}

// set gives a field some value that is not its default.
func set(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsMap():
		m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
	case f.IsList():
		m.Mutable(f).List().AppendMutable()
	case f.Message() != nil:
		m.Mutable(f)
	case f.Kind() == protoreflect.BoolKind:
		m.Set(f, protoreflect.ValueOfBool(true))
	default:
		m.Set(f, protoreflect.ValueOfString("x"))
	}
}

// TestMaskOfUpdate: a field that is refused when a subscription is made is refused, by name, when it is
// updated.
func TestMaskOfUpdate(t *testing.T) {
	t.Parallel()
	all := (&pubsubpb.Subscription{}).ProtoReflect().Descriptor().Fields()
	for i := range all.Len() {
		f := all.Get(i)
		if served[f.FullName()] != fields.Refused {
			continue
		}
		if err := copyField(&pubsubpb.Subscription{}, &pubsubpb.Subscription{}, string(f.Name())); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, want UNIMPLEMENTED", f.Name(), err)
		}
	}
}
