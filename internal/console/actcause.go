package console

import (
	"context"
	"net/http"
	"net/url"

	"exportd/api/client"
)

// previewCause reads what running a cause again would touch.
func (c *Console) previewCause(ctx context.Context, p *confirmPage) error {
	of, err := c.api.OpsGetCauseWithResponse(ctx, p.Cause)
	if err != nil {
		return err
	}
	p.Of = &of.JSON200.Cause
	if p.OfCallbacks() {
		p.Title, p.Button = "Send again what a cause has given up", "Send again"
	}
	answer, err := c.api.OpsRerunCauseWithBodyWithResponse(ctx, p.Cause, asJSON, body(p.preview()))
	if err != nil {
		return err
	}
	p.Preview = answer.JSON200
	return nil
}

// rerunCause begins again what a cause has ended, by a batch.
func (c *Console) rerunCause(ctx context.Context, r *http.Request, t target, fields map[string]any) (string, error) {
	answer, err := c.api.OpsRerunCauseWithBodyWithResponse(ctx, t.Cause, asJSON, body(fields), c.once(r, ""))
	if err != nil {
		return "", err
	}
	if answer.JSON202 == nil {
		return home + "/batches", nil
	}
	said := "cause"
	if answer.JSON202.Of == client.BatchOfCallbacks {
		said = "cause-callbacks"
	}
	return home + "/batches/" + url.PathEscape(answer.JSON202.BatchID) + "?said=" + said, nil
}

func (c *Console) changeBatch(ctx context.Context, r *http.Request, t target, fields map[string]any) (err error) {
	switch t.Name {
	case "pause-batch":
		_, err = c.api.OpsPauseBatchWithBodyWithResponse(ctx, t.Batch, asJSON, body(fields), c.once(r, ""))
	case "resume-batch":
		_, err = c.api.OpsResumeBatchWithBodyWithResponse(ctx, t.Batch, asJSON, body(fields), c.once(r, ""))
	default:
		_, err = c.api.OpsCancelBatchWithBodyWithResponse(ctx, t.Batch, asJSON, body(fields), c.once(r, ""))
	}
	return err
}
