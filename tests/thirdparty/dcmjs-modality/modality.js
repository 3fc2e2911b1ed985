// One association of a modality: the requests that stdin asks for, as JSON, in their order; what came of them goes to stdout.
//
// in:  { port, calling, called, cancelAfter, requests: [{ kind, keys | file | uid, dataset }] }
// out: { accepted, rejected, error, answers: [[{ status, uid, dataset }, …] of each request] }
//
// Data sets by keyword. What is right is judged elsewhere (tests/support/dcmjs.py reads this).
'use strict';

const { Client, Dataset, constants, requests } = require('dcmjs-dimse');
const { readFileSync } = require('fs');

const MPPS = constants.SopClass.ModalityPerformedProcedureStep;
const { Pending } = constants.Status;

const ordered = JSON.parse(readFileSync(0, 'utf8'));
const told = { accepted: false, rejected: null, error: null, answers: [] };

function made({ kind, keys, file, uid, dataset }) {
  switch (kind) {
    case 'echo':
      return new requests.CEchoRequest();
    case 'find':
      return requests.CFindRequest.createWorklistFindRequest(keys);
    case 'store':
      return new requests.CStoreRequest(file);
    case 'create':
      return withDataset(new requests.NCreateRequest(MPPS, uid), dataset);
    case 'set':
      return withDataset(new requests.NSetRequest(MPPS, uid), dataset);
    default:
      throw new Error(`no such request: ${kind}`);
  }
}

function withDataset(request, elements) {
  request.setDataset(new Dataset(elements));
  return request;
}

const client = new Client();
for (const order of ordered.requests) {
  const request = made(order);
  const answers = [];
  told.answers.push(answers);
  request.on('response', (response) => {
    answers.push({
      status: response.getStatus(),
      uid: response.getAffectedSopInstanceUid() || null,
      dataset: response.hasDataset() ? response.getDataset().getElements() : null,
    });
    if (response.getStatus() === Pending && answers.length === ordered.cancelAfter) {
      client.cancel(request);
    }
  });
  client.addRequest(request);
}
client.on('associationAccepted', () => (told.accepted = true));
client.on('associationRejected', ({ result, source, reason }) => (told.rejected = [result, source, reason]));
client.on('networkError', (error) => (told.error = error.message));
client.on('closed', () => process.stdout.write(JSON.stringify(told)));
client.send('127.0.0.1', ordered.port, ordered.calling, ordered.called);
