//! The client of `tungstenite`. For the protocol see `answering.py`.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::TcpStream;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Bytes, Message, WebSocket};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", json!({"client": "tungstenite", "can": ["fragments", "ping"]}))?;
    let mut client = Client::default();
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = client.answer(&request);
        let answer = answer.unwrap_or_else(|error| json!({"failed": error.to_string()}));
        writeln!(output, "{answer}")?;
    }
    Ok(())
}

#[derive(Default)]
struct Client(Option<WebSocket<TcpStream>>);

impl Client {
    fn answer(&mut self, request: &Value) -> Result<Value> {
        let done = json!({"done": true});
        match request["do"].as_str() {
            Some("connect") => {
                let url = text(&request["url"])?;
                let authority = url.trim_start_matches("ws://").split('/').next();
                let stream = TcpStream::connect(authority.unwrap_or_default())?;
                self.0 = Some(tungstenite::client(url, stream)?.0);
                Ok(done)
            }
            Some("send") => {
                self.socket()?.send(unpack(&request["message"])?)?;
                Ok(done)
            }
            Some("fragments") => {
                self.send_in_pieces(unpack(&request["message"])?, &request["cuts"])?;
                Ok(done)
            }
            Some("receive") => self.receive(),
            Some("ping") => {
                let payload = text(&request["text"])?.to_owned();
                self.socket()?.send(Message::Ping(payload.into()))?;
                self.receive()
            }
            Some("close") => {
                let reason = text(&request["reason"])?.to_owned().into();
                let code = request["code"].as_u64().map(u16::try_from).transpose()?;
                let frame = code.map(|code| CloseFrame { code: code.into(), reason });
                self.socket()?.close(frame)?;
                self.receive()
            }
            _ => Err(format!("what is {request}?").into()),
        }
    }

    fn socket(&mut self) -> Result<&mut WebSocket<TcpStream>> {
        self.0.as_mut().ok_or_else(|| "not connected".into())
    }

    fn send_in_pieces(&mut self, message: Message, cuts: &Value) -> Result<()> {
        let mut opcode = if message.is_text() { Data::Text } else { Data::Binary };
        let payload = message.into_data();
        let mut begin = 0;
        for end in cuts.as_array().into_iter().flatten() {
            let end = usize::try_from(end.as_u64().ok_or("no number")?)?;
            self.send_piece(payload.slice(begin..end), opcode, false)?;
            (begin, opcode) = (end, Data::Continue);
        }
        self.send_piece(payload.slice(begin..), opcode, true)
    }

    fn send_piece(&mut self, piece: Bytes, opcode: Data, is_last: bool) -> Result<()> {
        let frame = Frame::message(piece, OpCode::Data(opcode), is_last);
        Ok(self.socket()?.send(Message::Frame(frame))?)
    }

    /// The next message that is not a ping.
    fn receive(&mut self) -> Result<Value> {
        loop {
            match self.socket()?.read()? {
                // The next call to read sends the pong.
                Message::Ping(_) => {}
                Message::Pong(payload) => {
                    return Ok(json!({"pong": str::from_utf8(&payload)?}));
                }
                Message::Text(text) => {
                    return Ok(json!({"message": {"text": text.as_str()}}));
                }
                Message::Binary(bytes) => {
                    return Ok(json!({"message": {"binary": BASE64.encode(&bytes)}}));
                }
                Message::Close(frame) => {
                    while self.socket()?.read().is_ok() {}
                    let closed =
                        frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                    let (code, reason) = closed.unzip();
                    return Ok(json!({"closed": [code, reason]}));
                }
                other @ Message::Frame(_) => return Err(format!("{other:?}").into()),
            }
        }
    }
}

fn unpack(message: &Value) -> Result<Message> {
    if let Some(text) = message["text"].as_str() {
        Ok(Message::text(text))
    } else {
        Ok(Message::binary(BASE64.decode(text(&message["binary"])?.as_bytes())?))
    }
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| format!("{value} is not text").into())
}
