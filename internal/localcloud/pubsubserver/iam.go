package pubsubserver

import (
	"context"
	"slices"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
)

// iam answers which permissions a caller has. There are no policies: all that exist for the kind of resource,
// unless Options.Permitted says otherwise. Reading and setting policies is not there.
type iam struct {
	iampb.UnimplementedIAMPolicyServer
	s *Server
}

// The permissions that exist on a topic and on a subscription:
// https://cloud.google.com/pubsub/docs/access-control#permissions_and_roles
var (
	topicPermissions = []string{
		"attachSubscription", "delete", "detachSubscription", "get", "getIamPolicy", "publish", "setIamPolicy", "update", "updateTag",
	}
	subscriptionPermissions = []string{"consume", "delete", "get", "getIamPolicy", "setIamPolicy", "update"}
)

// TestIamPermissions needs no permission itself. Of a resource that is not there nothing is granted, as in
// the real service, which makes no error of it.
func (i *iam) TestIamPermissions(ctx context.Context, req *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	name := req.GetResource()
	prefix, known := "", []string(nil)
	switch {
	case topicName.MatchString(name):
		prefix, known = "pubsub.topics.", topicPermissions
	case subscriptionName.MatchString(name):
		prefix, known = "pubsub.subscriptions.", subscriptionPermissions
	default:
		return nil, invalidName(name)
	}
	i.s.mu.RLock()
	exists := i.s.topics[name] != nil || i.s.subs[name] != nil
	i.s.mu.RUnlock()
	res := &iampb.TestIamPermissionsResponse{}
	for _, p := range req.GetPermissions() {
		verb, ok := strings.CutPrefix(p, prefix)
		if !ok || !slices.Contains(known, verb) {
			return nil, invalid("permission %q is not one of %s", p, name)
		}
		if exists && (i.s.permitted == nil || i.s.permitted(ctx, p)) {
			res.Permissions = append(res.Permissions, p)
		}
	}
	return res, nil
}
