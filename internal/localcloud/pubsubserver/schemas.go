package pubsubserver

import (
	"context"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// schemas knows of none, as none can be made.
type schemas struct {
	pubsubpb.UnimplementedSchemaServiceServer
}

// ListSchemas lets those who clean up before they begin find nothing.
func (schemas) ListSchemas(_ context.Context, req *pubsubpb.ListSchemasRequest) (*pubsubpb.ListSchemasResponse, error) {
	if err := checkName(projectName, req.GetParent()); err != nil {
		return nil, err
	}
	return &pubsubpb.ListSchemasResponse{}, nil
}
