package subresource

// Payment is the document of PutBucketRequestPayment.
type Payment struct {
	Payer string `xml:"Payer"` // BucketOwner or Requester
}

// ParsePayment reads a request payment configuration.
func ParsePayment(data []byte) (Payment, error) {
	var p Payment
	if err := Unmarshal(data, "RequestPaymentConfiguration", &p); err != nil {
		return Payment{}, err
	}
	if p.Payer != "BucketOwner" && p.Payer != "Requester" {
		return Payment{}, Malformed()
	}
	return p, nil
}

// Accelerate is the document of PutBucketAccelerateConfiguration.
type Accelerate struct {
	Status string `xml:"Status,omitempty"` // Enabled or Suspended
}

// ParseAccelerate reads a transfer acceleration configuration.
func ParseAccelerate(data []byte) (Accelerate, error) {
	var a Accelerate
	if err := Unmarshal(data, "AccelerateConfiguration", &a); err != nil {
		return Accelerate{}, err
	}
	if a.Status != "Enabled" && a.Status != "Suspended" {
		return Accelerate{}, Malformed()
	}
	return a, nil
}
